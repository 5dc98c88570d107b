// How far two trained copies of a network's weights lie from each other: their stability under pruning or another order of
// the data ("Stabilizing the Lottery Ticket Hypothesis", 2019).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace espalier {

// Both over all tensors as one vector, in fp64.
double l2_distance(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b);
// In degrees between a - origin and b - origin; 0 when either is zero.
double angle_between(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b, const std::vector<at::Tensor>& origin);

}  // namespace espalier
