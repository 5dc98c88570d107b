// Another order of a block's attention heads: rows of the projections to queries, keys and values, columns of the projection
// back. The model computes the same.
#pragma once

#include <cstdint>
#include <vector>

#include "espalier/structure/coupling.h"

namespace espalier {

// heads: a group of kind kHeads of this graph's coupling. Set order[i] of it comes to place i; order has every set once.
void reorder_heads(Graph& graph, const CouplingGroup& heads, const std::vector<int64_t>& order);

}  // namespace espalier
