// Between the runtime's Tensor and libtorch's.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "espalier/core/tensor.h"

namespace espalier {

// fp32 (int64 stays int64, bool stays bool). Shares the bytes when they are fp32 already and aligned; a mapped
// tensor's bytes must then not be written to.
at::Tensor to_torch(const Tensor& tensor);

// A contiguous copy; fp32 input may become any floating dtype.
Tensor from_torch(const at::Tensor& tensor, DType dtype);

// The elements of a contiguous fp64 tensor, which the caller holds.
std::span<double> doubles(const at::Tensor& contiguous);

}  // namespace espalier
