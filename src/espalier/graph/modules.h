// Which Linear layers do what in a transformer, found from how values flow and not from names.
#pragma once

#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

struct TransformerModules {
  std::vector<NodeId> qkv;         // make queries, keys or values of an attention; a packed layer is one
  std::vector<NodeId> projection;  // read what an attention gives
  std::vector<NodeId> mlp;         // of a feed-forward branch: up, gate and down
};

// An attention is an Attention node, or a Softmax whose output a MatMul multiplies with values. Its Linear layers are
// found through layout operators, rotations, biases, scales and norms of heads. A feed-forward branch is what reaches a
// residual Add from a Linear (perhaps through a norm or a scale), behind an activation or a product of Linear layers; so
// patch embeddings, mergers and classifier heads belong to no module. Each list in the order of the nodes.
TransformerModules find_modules(const Graph& graph);

}  // namespace espalier
