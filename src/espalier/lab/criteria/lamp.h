// LAMP scores (Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", 2020): magnitudes that layers can be
// ranked together by.
#pragma once

#include <ATen/core/Tensor.h>

namespace espalier {

// w^2 over the sum of w^2 of the alive weights of its layer that are at least as large (among equals: those at higher
// positions), fp64 in the weight's shape; 0 where the mask is false.
at::Tensor lamp_scores(const at::Tensor& weight, const at::Tensor& mask);

}  // namespace espalier
