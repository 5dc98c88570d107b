#include "espalier/graph/modules.h"

#include <algorithm>
#include <set>

namespace espalier {
namespace {

bool one_of(const std::string& op, const std::set<std::string>& ops) { return ops.count(op) > 0; }

// Operators that move values without mixing channels of different layers.
const std::set<std::string> kLayout{"Reshape", "Transpose", "Split", "Slice", "Gather", "Squeeze", "Unsqueeze", "Flatten", "Concat", "Expand", "Repeat", "Cast", "Pad"};
// … and those that stand between a projection and the attention.
const std::set<std::string> kOnTheWay{"RotaryEmbedding", "Add", "Sub", "Mul", "Div", "LayerNorm", "RMSNorm", "Where"};
const std::set<std::string> kNorms{"LayerNorm", "RMSNorm", "BatchNorm", "GroupNorm"};
// Inside a feed-forward branch. No Add: that would lead over the residual stream into the block before.
const std::set<std::string> kPointwise{"Activation", "Mul"};

class Flow {
 public:
  explicit Flow(const Graph& graph) : graph_(graph), producer_(graph.values.size(), -1), readers_(graph.values.size()) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      for (ValueId value : graph.nodes[n].outputs) producer_[static_cast<size_t>(value)] = static_cast<NodeId>(n);
      for (ValueId value : graph.nodes[n].inputs) readers_[static_cast<size_t>(value)].push_back(static_cast<NodeId>(n));
    }
  }

  const Node& node(NodeId n) const { return graph_.nodes[static_cast<size_t>(n)]; }
  const std::vector<NodeId>& readers(ValueId value) const { return readers_[static_cast<size_t>(value)]; }

  // Linear layers that a value comes from through the given operators.
  void sources(ValueId value, const std::set<std::string>& through, std::set<NodeId>& found, std::set<NodeId>& seen) const {
    const NodeId n = producer_[static_cast<size_t>(value)];
    if (n < 0 || !seen.insert(n).second) return;
    if (node(n).op == "Linear") {
      found.insert(n);
    } else if (one_of(node(n).op, kLayout) || one_of(node(n).op, through)) {
      for (ValueId input : node(n).inputs) sources(input, through, found, seen);
    }
  }
  std::set<NodeId> sources(ValueId value, const std::set<std::string>& through) const {
    std::set<NodeId> found, seen;
    sources(value, through, found, seen);
    return found;
  }

  // Linear layers that read a value through layout operators.
  void targets(ValueId value, std::set<NodeId>& found) const {
    for (NodeId n : readers(value)) {
      if (node(n).op == "Linear") {
        found.insert(n);
      } else if (one_of(node(n).op, kLayout)) {
        for (ValueId output : node(n).outputs) targets(output, found);
      }
    }
  }

  // MatMul nodes that make a value, through what may stand between scores and their softmax.
  void products(ValueId value, std::set<NodeId>& found, std::set<NodeId>& seen) const {
    const NodeId n = producer_[static_cast<size_t>(value)];
    if (n < 0 || !seen.insert(n).second) return;
    if (node(n).op == "MatMul") {
      found.insert(n);
    } else if (one_of(node(n).op, kLayout) || one_of(node(n).op, {"Add", "Mul", "Div", "Where"})) {
      for (ValueId input : node(n).inputs) products(input, found, seen);
    }
  }

  // Does the value reach an Add, through nothing but norms, scales and layout?
  bool joins_residual(ValueId value) const {
    for (NodeId n : readers(value)) {
      const Node& reader = node(n);
      if (reader.op == "Add" && producer_[static_cast<size_t>(reader.inputs[0])] >= 0 && producer_[static_cast<size_t>(reader.inputs[1])] >= 0 && !is_constant(reader))
        return true;
      const bool scale = (reader.op == "Mul" && is_constant(reader)) || reader.op == "Gate" || (reader.op == "Add" && is_constant(reader));
      if (!scale && !one_of(reader.op, kLayout) && !one_of(reader.op, kNorms)) continue;
      if (std::any_of(reader.outputs.begin(), reader.outputs.end(), [&](ValueId output) { return joins_residual(output); })) return true;
    }
    return false;
  }

 private:
  bool is_constant(const Node& n) const {
    return std::any_of(n.inputs.begin(), n.inputs.end(), [&](ValueId input) {
      const NodeId from = producer_[static_cast<size_t>(input)];
      return from >= 0 && node(from).op == "Constant";
    });
  }

  const Graph& graph_;
  std::vector<NodeId> producer_;
  std::vector<std::vector<NodeId>> readers_;
};

void add_attention(const Flow& flow, const std::vector<ValueId>& inputs, ValueId mixed, std::set<NodeId>& qkv, std::set<NodeId>& projection) {
  for (ValueId input : inputs) qkv.merge(flow.sources(input, kOnTheWay));
  flow.targets(mixed, projection);
}

// Of a decomposed attention: the MatMul behind the softmax, and the one before it.
void add_decomposed(const Flow& flow, const Node& softmax, std::set<NodeId>& qkv, std::set<NodeId>& projection) {
  std::set<NodeId> scores, seen;
  flow.products(softmax.inputs[0], scores, seen);
  if (scores.empty()) return;
  for (NodeId n : flow.readers(softmax.outputs[0])) {
    const Node& weighted = flow.node(n);
    if (weighted.op != "MatMul" || weighted.inputs[0] != softmax.outputs[0]) continue;
    std::vector<ValueId> inputs{weighted.inputs[1]};
    for (NodeId score : scores) inputs.insert(inputs.end(), flow.node(score).inputs.begin(), flow.node(score).inputs.end());
    add_attention(flow, inputs, weighted.outputs[0], qkv, projection);
  }
}

}  // namespace

TransformerModules find_modules(const Graph& graph) {
  const Flow flow(graph);
  std::set<NodeId> qkv, projection, mlp;
  for (const auto& node : graph.nodes) {
    if (node.op == "Attention") add_attention(flow, {node.inputs[0], node.inputs[1], node.inputs[2]}, node.outputs[0], qkv, projection);
    if (node.op == "Softmax") add_decomposed(flow, node, qkv, projection);
  }
  const auto free = [&](NodeId n) { return !qkv.count(n) && !projection.count(n); };
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& down = graph.nodes[n];
    if (down.op != "Linear" || !free(static_cast<NodeId>(n)) || !flow.joins_residual(down.outputs[0])) continue;
    auto up = flow.sources(down.inputs[0], kPointwise);
    std::erase_if(up, [&](NodeId source) { return !free(source); });
    if (up.empty()) continue;
    mlp.insert(static_cast<NodeId>(n));
    mlp.merge(up);
  }
  return {{qkv.begin(), qkv.end()}, {projection.begin(), projection.end()}, {mlp.begin(), mlp.end()}};
}

}  // namespace espalier
