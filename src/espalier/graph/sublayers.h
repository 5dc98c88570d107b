// Sub-layers: the branches that a block adds to the residual stream, found from the nodes alone.
#pragma once

#include <optional>
#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

struct SubLayer {
  enum class Kind { kAttention, kFfn };
  Kind kind;
  int block;
  NodeId add;                       // residual + branch
  NodeId out_projection;            // the branch's last Linear (o_proj, down_proj)
  std::optional<NodeId> attention;  // the Attention node; none where MatMuls and a Softmax do its work
  ValueId residual, branch;         // inputs of the Add
  std::vector<NodeId> nodes;        // used by this branch alone (a norm shared by two branches is not listed)
};

const char* name_of(SubLayer::Kind kind);  // "attn", "ffn"

// In scan order: block ascending, then the order of the Adds (attention before FFN).
std::vector<SubLayer> find_sublayers(const Graph& graph);

// What a block is made of, from its parameters' shapes: the widths that a configuration has to state.
struct BlockWidths {
  bool attention = false, ffn = false;
  int64_t heads = 0, kv_heads = 0, head_size = 0, ffn_width = 0;
  bool operator==(const BlockWidths&) const = default;
};
std::vector<BlockWidths> block_widths(const Graph& graph);

}  // namespace espalier
