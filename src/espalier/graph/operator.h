// The registry of operators. One operator, one file in ops/: shapes (infer), cost, and which dimensions move
// together (couple, the rule table of SPA section A). The interpreter's kernels register apart, in the laboratory.
#pragma once

#include <string>
#include <vector>

#include "espalier/graph/couple.h"
#include "espalier/graph/graph.h"

namespace espalier {

// FLOPs count a multiply-add as two. Bytes are what one forward must read of weights.
struct Cost {
  double flops = 0;
  double weight_bytes = 0;
  Cost& operator+=(const Cost& other);
};

// What an operator's rules see of a node: shapes of values and parameters.
class NodeView {
 public:
  NodeView(const Graph& graph, const Node& node) : graph_(graph), node_(node) {}
  const Node& node() const { return node_; }
  const Shape& input(size_t i) const { return graph_.values[static_cast<size_t>(node_.inputs.at(i))].shape; }
  const Shape& output(size_t i) const { return graph_.values[static_cast<size_t>(node_.outputs.at(i))].shape; }
  const Shape& param(const std::string& role) const { return graph_.parameter_of(node_, role).shape(); }
  double param_bytes() const;  // of all parameters of the node

 private:
  const Graph& graph_;
  const Node& node_;
};

struct Operator {
  std::string name;
  // Shapes of the outputs; a contradiction between shapes is a UserError naming the node.
  std::vector<Shape> (*infer)(const NodeView&);
  Cost (*cost)(const NodeView&);
  void (*couple)(Coupler&, const NodeView&);  // null: an operator whose dims stay frozen
};

const Operator& find_operator(const std::string& name);
std::vector<std::string> operator_names();

struct RegisterOperator {
  explicit RegisterOperator(Operator op);
};

// Shapes of the outputs of a node whose inputs have theirs. UserError also where sizes are negative or absurdly large.
std::vector<Shape> infer_node(const Graph& graph, const Node& node);
// Shapes of a node's outputs from those that its inputs have; UserError naming the node, also for absurd sizes.
std::vector<Shape> infer_outputs(const Graph& graph, const Node& node);
// Fills every value's shape from shapes of the graph's inputs (token ids: [batch, tokens]).
void infer_shapes(Graph& graph, const std::vector<Shape>& inputs);
// The shapes that were inferred with last; before that one sequence of one token.
std::vector<Shape> input_shapes(const Graph& graph);

// FLOPs and bytes of one forward at the inferred shapes; infer_shapes must have run.
Cost total_cost(const Graph& graph);
Cost cost_of(const Graph& graph, const Node& node);
// Parameters, FLOPs per token (at the given context length) and bytes: what tables print before and after.
struct Size {
  int64_t params = 0;
  double flops = 0;  // one forward over `tokens` tokens, divided by tokens
  uint64_t bytes = 0;
};
Size measure_size(const Graph& graph, int64_t tokens);

// Shared pieces of infer rules.
[[noreturn]] void shape_mismatch(const NodeView& view, const std::string& what, const std::string& expected, const Shape& found);
// axis in [-rank, rank) → [0, rank); UserError naming the node.
size_t checked_axis(const NodeView& view, int64_t axis, size_t rank);
// a · b of sizes that come from attributes; UserError naming the node when it overflows.
int64_t size_product(const NodeView& view, int64_t a, int64_t b);
// UserError unless the value has at least (and at most) so many dims.
void check_rank(const NodeView& view, const Shape& shape, size_t least, size_t most);
inline std::vector<Shape> same_as_input(const NodeView& view) { return {view.input(0)}; }
Cost elementwise_cost(const NodeView& view, double flops_per_element);

}  // namespace espalier
