// Ranking among the weights that a mask keeps, over one tensor or several together: what training that prunes needs.
// Scores are ranked in fp64; the earlier tensor, then the lower position goes first among equals. Masks: bool, in the
// scores' shapes, true: alive. A dead entry's score never counts, whatever it is.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/core/rng.h"

namespace espalier {

using LayerTensors = std::vector<at::Tensor>;  // one a layer, in the model's order

int64_t alive_count(const LayerTensors& masks);

// ceil(share · n - 1e-9): the released rule of swaps and of iterative pruning, at least 1 where anything is alive.
int64_t share_of(double share, int64_t n);

// Clears the k alive entries of the lowest scores, of all tensors together; k is at most what is alive.
// Masks change in place. UserError naming `where`: an alive score that is NaN.
void remove_lowest(const LayerTensors& scores, const LayerTensors& masks, int64_t k, const std::string& where);

// The same for the candidates alone, bool in the masks' shapes; returns how many went, fewer than k when there are not
// so many alive candidates.
int64_t remove_lowest_of(const LayerTensors& scores, const LayerTensors& masks, const LayerTensors& candidates, int64_t k, const std::string& where);

// Sets the k dead entries of the highest scores of one tensor; returns which, all of them when fewer are dead.
at::Tensor grow_highest(const at::Tensor& scores, const at::Tensor& mask, int64_t k, const std::string& where);

// A mask that keeps exactly `kept` positions, drawn without replacement.
at::Tensor random_keep(at::IntArrayRef shape, int64_t kept, Rng& rng);

}  // namespace espalier
