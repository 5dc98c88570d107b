// Baseline: the smallest weights matter least. score = |W|. (Global scope: allocation/global_magnitude.h.)
#pragma once

#include "espalier/lab/criteria/masks.h"

namespace espalier {

// Mask of the weight viewed as [out, in]; `name` is the layer, for errors.
at::Tensor magnitude_mask(const at::Tensor& weight, const Pattern& pattern, const std::string& name);

// Uniform scores that depend on the seed and the layer's name only: the control arm of every comparison.
at::Tensor random_mask(const at::Tensor& weight, const Pattern& pattern, uint64_t seed, const std::string& name);

}  // namespace espalier
