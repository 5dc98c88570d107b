#include "espalier/engine/graph_fusion.h"

#include <algorithm>

#include "espalier/engine/ops/dnnl_tools.h"

namespace espalier {
namespace {

class Fuser {
 public:
  explicit Fuser(const Graph& graph) : graph_(graph), readers_(graph.values.size()), taken_(graph.nodes.size(), 0) {
    for (size_t n = 0; n < graph.nodes.size(); ++n)
      for (ValueId input : graph.nodes[n].inputs) readers_[static_cast<size_t>(input)].push_back(n);
    for (ValueId output : graph.outputs) readers_[static_cast<size_t>(output)].push_back(graph.nodes.size());
  }

  std::vector<FusedNode> run() {
    std::vector<std::pair<size_t, FusedNode>> placed;  // at the last of its nodes
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (taken_[n]) continue;
      FusedNode fused;
      fused.node = &graph_.nodes[n];
      fused.inputs = fused.node->inputs;
      fused.outputs = fused.node->outputs;
      size_t last = n;
      if (starts_a_chain(*fused.node))
        while (extend(fused, last)) {
        }
      placed.emplace_back(last, std::move(fused));
    }
    std::stable_sort(placed.begin(), placed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<FusedNode> nodes;
    for (auto& [at, fused] : placed) nodes.push_back(std::move(fused));
    return nodes;
  }

 private:
  static bool starts_a_chain(const Node& node) {
    return node.op == "Conv" || node.op == "ConvTranspose" || node.op == "Linear" || node.op == "BatchNorm";
  }

  const Shape& shape(ValueId value) const { return graph_.values[static_cast<size_t>(value)].shape; }

  // The only node that reads what the chain gives so far, if it can be taken into the chain.
  bool extend(FusedNode& fused, size_t& last) {
    const ValueId result = fused.outputs[0];
    const auto& readers = readers_[static_cast<size_t>(result)];
    if (readers.size() != 1 || readers[0] == graph_.nodes.size() || taken_[readers[0]]) return false;
    const Node& next = graph_.nodes[readers[0]];
    if (!take(fused, next, result)) return false;
    fused.outputs = next.outputs;
    taken_[readers[0]] = 1;
    last = readers[0];
    return true;
  }

  bool take(FusedNode& fused, const Node& next, ValueId result) const {
    const bool norm = fused.node->op == "BatchNorm";
    if (next.op == "BatchNorm" && !norm && !fused.batch_norm && fused.tail.empty() && channels_match(fused, result)) {
      fused.batch_norm = &next;
    } else if (next.op == "Activation" && is_post_op(next) && (!norm || next.text("kind") == "relu")) {
      fused.tail.push_back({&next});
    } else if (next.op == "Add" && !norm && shape(next.inputs[0]) == shape(next.inputs[1])) {
      const ValueId other = next.inputs[0] == result ? next.inputs[1] : next.inputs[0];
      if (other == result) return false;
      fused.tail.push_back({&next, other});
      fused.inputs.push_back(other);
    } else {
      return false;
    }
    return true;
  }

  // A norm over dim 1 is one over the outputs of the weights: always of a convolution, of a Linear with two dims.
  bool channels_match(const FusedNode& fused, ValueId result) const {
    return fused.node->op != "Linear" || shape(result).size() == 2;
  }

  const Graph& graph_;
  std::vector<std::vector<size_t>> readers_;  // node count: the graph's output
  std::vector<uint8_t> taken_;
};

}  // namespace

std::vector<FusedNode> fuse_nodes(const Graph& graph) { return Fuser(graph).run(); }

std::vector<int> count_uses(const Graph& graph, const std::vector<FusedNode>& nodes) {
  std::vector<int> uses(graph.values.size(), 0);
  for (const FusedNode& fused : nodes)
    for (ValueId input : fused.inputs) ++uses[static_cast<size_t>(input)];
  for (ValueId output : graph.outputs) ++uses[static_cast<size_t>(output)];
  return uses;
}

}  // namespace espalier
