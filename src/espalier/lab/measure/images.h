// Pictures as a model's input.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "espalier/families/image_input.h"
#include "espalier/io/image_dataset.h"

namespace espalier {

struct LabelledImages {
  at::Tensor pixels;  // fp32 [n, c, h, w], normalised
  at::Tensor labels;  // int64 [n]
};

// Converted to the model's channels, resized and cropped, in the model's channel order; not yet normalised: uint8
// [n, c, h, w]. A model without a fixed size gets the pictures in their own, which must then all be the same. Pictures
// are decoded by all threads; the result does not depend on their number. UserError naming what does not fit.
at::Tensor image_bytes(const ImageDataset& dataset, std::span<const int64_t> indices, const ImageInput& input);

// (x / divisor - mean) / std of uint8 [n, c, h, w] as fp32, rounded where PyTorch's transforms round.
at::Tensor normalised(const at::Tensor& bytes, const ImageInput& input);

at::Tensor image_labels(const ImageDataset& dataset, std::span<const int64_t> indices);
LabelledImages image_batch(const ImageDataset& dataset, std::span<const int64_t> indices, const ImageInput& input);

}  // namespace espalier
