// Global magnitude pruning's released cure for emptied layers (option mt_rule = rescale): layer sparsities are clipped
// so that every layer keeps its minimum, then all are scaled up until the network reaches its target again. It changes
// the rates of all layers; the exact rule is global_magnitude(…, min_keep).
#pragma once

#include <cstdint>
#include <vector>

namespace espalier {

struct RefinedRates {
  std::vector<double> sparsity;  // of each layer; the count removed is layer_removal(sparsity, size)
  double overall = 0;            // reached
  bool converged = true;         // false: the target was not reached within 10000 rounds
};

// plain: the layer sparsities of the ranking without a minimum.
RefinedRates refine_rates(const std::vector<double>& sizes, const std::vector<double>& plain, double sparsity,
                          int64_t min_keep);

// min(size, floor(sparsity * size + 1e-9))
int64_t layer_removal(double sparsity, int64_t size);

}  // namespace espalier
