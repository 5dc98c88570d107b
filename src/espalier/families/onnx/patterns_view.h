// What the patterns ask of a graph: who makes a value, who reads it, which numbers stand behind a constant.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

class PatternView {
 public:
  explicit PatternView(Graph& graph);

  const Graph& graph() const { return graph_; }
  const Node& node(size_t i) const { return graph_.nodes[i]; }
  const Shape& shape(ValueId value) const { return graph_.values[static_cast<size_t>(value)].shape; }
  int64_t reads(ValueId value) const { return reads_[static_cast<size_t>(value)]; }
  const Node* maker(ValueId value) const;                       // null: an input of the graph
  const Node* maker(ValueId value, std::string_view op) const;  // null also where it is another operator
  const Node* activation(ValueId value, std::string_view kind) const;
  std::optional<double> scalar(ValueId value) const;     // of a Constant of one number
  bool is_scalar(ValueId value, double expected) const;  // within 1e-4 of it
  // The operand of a commutative operator beside the one that `test` accepts; nothing: none is accepted.
  template <typename Test>
  std::optional<ValueId> other_operand(const Node& node, Test test) const {
    if (node.inputs.size() != 2) return std::nullopt;
    if (test(node.inputs[1])) return node.inputs[0];
    if (test(node.inputs[0])) return node.inputs[1];
    return std::nullopt;
  }
  // A Constant with one number for each index of `axis` of a value of this rank, all its other dims being 1, as a
  // parameter of shape [size]; empty: it is none.
  std::string channel_parameter(ValueId constant, size_t axis, size_t rank, int64_t size);
  // A Constant with one number for each index of the last dims of a value, of these sizes, as a parameter of one dim.
  std::string flat_parameter(ValueId constant, const Shape& sizes);
  // Node i becomes this one, which makes the same outputs.
  void replace(size_t i, Node node);
  size_t index_of(const Node& node) const { return static_cast<size_t>(&node - graph_.nodes.data()); }

 private:
  Graph& graph_;
  std::vector<NodeId> makers_;
  std::vector<int64_t> reads_;
};

// One file a group of patterns. True: node i was replaced.
bool fuse_norm(PatternView& view, size_t i);        // LayerNorm, RMSNorm and GroupNorm, and their weights
bool fuse_activation(PatternView& view, size_t i);  // GELU, SiLU, HardSwish, Mish, …
bool fuse_repeat(PatternView& view, size_t i);      // the K and V heads of grouped queries
bool fuse_bias(PatternView& view, size_t i);        // of Linear and Conv
bool fuse_head_bias(PatternView& view, size_t i);   // of a Linear whose heads have a dim already
bool fuse_broadcast(PatternView& view, size_t i);   // without the Expand before an operator that broadcasts

}  // namespace espalier
