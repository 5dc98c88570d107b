// Which nodes one kernel does together.
#pragma once

#include <vector>

#include "espalier/engine/ops/lowering.h"

namespace espalier {

// Every node of the graph once, in an order in which it can run. A Conv, ConvTranspose or Linear takes the BatchNorm
// right after it, and then activations and additions (of a value of its output's shape) as far as nothing else reads
// what lies between; a BatchNorm takes an activation. Shapes must be inferred.
std::vector<FusedNode> fuse_nodes(const Graph& graph);

// How often each value is read: by fused nodes, and once more if the graph gives it.
std::vector<int> count_uses(const Graph& graph, const std::vector<FusedNode>& nodes);

}  // namespace espalier
