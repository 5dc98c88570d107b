// DIMAP (2024): how much of its own layer's Frobenius norm a weight holds among all that are not larger.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace espalier {

// With the layer's weights sorted by |w| descending, the lower flat index first among equals, p_1, p_2, …:
// score(p_j) = p_j² / (p_1² + … + p_j²), fp64, in the weight's shape. The largest weight scores 1, a zero one 0.
// UserError naming the tensor when it holds NaN or an infinity.
at::Tensor dimap_scores(const at::Tensor& weight, const std::string& name);

}  // namespace espalier
