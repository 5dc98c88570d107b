// SynFlow (2020), as PreCropping's first density source: which share of each layer survives an iterative, data-free
// pruning at initialisation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace espalier {

// |w|·∂R/∂|w| of every layer, in the weights' shapes, for fp64 magnitudes of which the removed ones are 0.
using SynapticScores = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& magnitudes)>;

struct SynFlowResult {
  std::vector<at::Tensor> first_scores;   // of the unmasked weights, fp64
  std::vector<at::Tensor> keep;           // bool
  std::vector<at::Tensor> round_removed;  // int64, 1-based; 0: kept
  std::vector<double> density;            // kept / total
};

// Round k of `rounds` leaves all but floor((1 - density^(k/rounds)) N) of all weights together: those that earlier rounds
// removed, then the lowest scores, the earlier layer and the lower flat index first among equals. UserError: a density
// outside (0, 1], rounds < 1, no weights, or a score that is not finite.
SynFlowResult iterate_synflow(const std::vector<at::Tensor>& weights, double density, int64_t rounds,
                              const SynapticScores& scores);

}  // namespace espalier
