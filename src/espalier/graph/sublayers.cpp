#include "espalier/graph/sublayers.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {
namespace {

struct Uses {
  std::vector<NodeId> producer;                // of each value, −1 for graph inputs
  std::vector<std::vector<NodeId>> consumers;  // of each value

  explicit Uses(const Graph& graph) : producer(graph.values.size(), -1), consumers(graph.values.size()) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      for (ValueId value : graph.nodes[n].outputs) producer[static_cast<size_t>(value)] = static_cast<NodeId>(n);
      for (ValueId value : graph.nodes[n].inputs) consumers[static_cast<size_t>(value)].push_back(static_cast<NodeId>(n));
    }
    for (ValueId value : graph.outputs) consumers[static_cast<size_t>(value)].push_back(-1);
  }
};

// A Linear that only the sum reads: a stream that a Linear begins is also read by the branch.
bool is_branch(const Graph& graph, const Uses& uses, ValueId value) {
  const NodeId node = uses.producer[static_cast<size_t>(value)];
  return node >= 0 && graph.nodes[static_cast<size_t>(node)].op == "Linear" &&
         uses.consumers[static_cast<size_t>(value)].size() == 1;
}

// Walks back from the branch; a node belongs to it when all that read it do. What makes the residual does not, although
// the sum may be its only other reader (a norm on the stream, as post-norm models have it).
std::vector<NodeId> exclusive_nodes(const Graph& graph, const Uses& uses, NodeId add, ValueId residual, ValueId branch) {
  std::vector<bool> inside(graph.nodes.size(), false);
  inside[static_cast<size_t>(add)] = true;
  std::vector<NodeId> found;
  const NodeId last = uses.producer[static_cast<size_t>(branch)];
  for (NodeId n = last; n >= 0; --n) {
    const auto& node = graph.nodes[static_cast<size_t>(n)];
    if (node.block != graph.nodes[static_cast<size_t>(add)].block) break;
    bool read = false, only_inside = true;
    for (ValueId output : node.outputs) {
      for (NodeId consumer : uses.consumers[static_cast<size_t>(output)]) {
        read = true;
        only_inside = only_inside && consumer >= 0 && inside[static_cast<size_t>(consumer)];
      }
    }
    const bool makes_residual = std::count(node.outputs.begin(), node.outputs.end(), residual) > 0;
    if (read && only_inside && !makes_residual) {
      inside[static_cast<size_t>(n)] = true;
      found.push_back(n);
    }
  }
  std::reverse(found.begin(), found.end());
  return found;
}

}  // namespace

const char* name_of(SubLayer::Kind kind) { return kind == SubLayer::Kind::kAttention ? "attn" : "ffn"; }

std::vector<SubLayer> find_sublayers(const Graph& graph) {
  const Uses uses(graph);
  std::vector<SubLayer> found;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const auto& node = graph.nodes[n];
    if (node.op != "Add" || node.block < 0 || node.block >= graph.block_count) continue;
    const bool first = is_branch(graph, uses, node.inputs[0]), second = is_branch(graph, uses, node.inputs[1]);
    if (first == second) continue;
    SubLayer sublayer{};
    sublayer.block = node.block;
    sublayer.add = static_cast<NodeId>(n);
    sublayer.branch = node.inputs[first ? 0 : 1];
    sublayer.residual = node.inputs[first ? 1 : 0];
    sublayer.out_projection = uses.producer[static_cast<size_t>(sublayer.branch)];
    sublayer.nodes = exclusive_nodes(graph, uses, sublayer.add, sublayer.residual, sublayer.branch);
    sublayer.kind = SubLayer::Kind::kFfn;
    for (NodeId inner : sublayer.nodes) {
      const std::string& op = graph.nodes[static_cast<size_t>(inner)].op;
      if (op == "Attention") sublayer.attention = inner;
      if (op == "Attention" || op == "Softmax") sublayer.kind = SubLayer::Kind::kAttention;
    }
    found.push_back(std::move(sublayer));
  }
  return found;
}

namespace {
int64_t linear_width(const Graph& graph, const Node& node, bool in) {
  const Shape& weight = graph.parameter_of(node, "weight").shape();
  return weight.at(node.flag_or("transposed", false) == in ? 0 : 1);
}

// In families V has no rotation or norm between its projection (or the split of a packed one) and the attention. In
// imported graphs other operators may make it; then its shape tells, as it was inferred last.
int64_t value_width(const Graph& graph, const Uses& uses, ValueId values) {
  const NodeId producer = uses.producer[static_cast<size_t>(values)];
  const Shape& shape = graph.values[static_cast<size_t>(values)].shape;
  if (producer < 0) return shape.back();
  const Node& source = graph.nodes[static_cast<size_t>(producer)];
  if (source.op == "Linear") return linear_width(graph, source, false);
  if (source.op != "Split") return shape.back();
  const auto at = std::find(source.outputs.begin(), source.outputs.end(), values) - source.outputs.begin();
  return source.integers("sizes").at(static_cast<size_t>(at));
}
}  // namespace

std::vector<BlockWidths> block_widths(const Graph& graph) {
  std::vector<BlockWidths> widths(static_cast<size_t>(graph.block_count));
  const Uses uses(graph);
  for (const auto& sublayer : find_sublayers(graph)) {
    auto& width = widths.at(static_cast<size_t>(sublayer.block));
    const int64_t in = linear_width(graph, graph.nodes[static_cast<size_t>(sublayer.out_projection)], true);
    if (sublayer.kind == SubLayer::Kind::kFfn) {
      width.ffn = true;
      width.ffn_width = in;
      continue;
    }
    width.attention = true;
    if (!sublayer.attention) continue;  // in parts: heads are whatever the shapes make of them
    const auto& attention = graph.nodes[static_cast<size_t>(*sublayer.attention)];
    width.head_size = attention.integer("head_size");
    width.heads = in / width.head_size;
    width.kv_heads = value_width(graph, uses, attention.inputs[2]) / width.head_size;
  }
  return widths;
}

}  // namespace espalier
