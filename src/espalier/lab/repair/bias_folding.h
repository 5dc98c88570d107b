// What removed channels still gave: once its scale is 0, a channel of a batch norm is its bias, and behind an activation the
// same value at every position.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "espalier/graph/graph.h"

namespace espalier {

// Before a cut: puts the constants of the channels that will go into what reads them, into a layer's bias or the running mean
// of the norm behind a layer without one. Exact where no reader pads with zeros; at padded borders a little off.
// removed: of batch norms, by node, bool. Constants go through activations, pools, flattening, sums, concatenations and
// depthwise layers; where they meet anything else, or a layer that can take nothing, they are dropped as without folding.
void fold_removed_biases(Graph& graph, const std::map<std::string, at::Tensor>& removed);

}  // namespace espalier
