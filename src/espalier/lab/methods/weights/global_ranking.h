// One ranking of |w| over many layers, applied block by block: what Global MP and magnitude with scope `global` share.
#pragma once

#include <vector>

#include "espalier/lab/methods/job.h"

namespace espalier {

enum class MinimumRule { kExact, kRescale };  // allocation/global_magnitude.h, allocation/min_keep_rates.h

struct RankedLayers {
  std::vector<NodeId> linears;  // in checkpoint order, each weight once
  int64_t total = 0;            // weights in all of them
};

// UserError when there is no layer or no weight.
RankedLayers ranked_layers(const PruneJob& job, std::vector<NodeId> linears);

// Removes the job's sparsity of all weights together, in single weights or, by their sums of |w|, in blocks of a row; with
// an N:M pattern, which leaves nothing to rank between layers, each layer's own. Findings: the threshold and, for each
// layer, size, kept and density. Layers may lie in blocks, before them or behind them.
void prune_globally(PruneJob& job, const RankedLayers& layers, int64_t min_keep, MinimumRule rule);

}  // namespace espalier
