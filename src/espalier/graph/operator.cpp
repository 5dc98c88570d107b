#include "espalier/graph/operator.h"

#include <map>

#include "espalier/core/error.h"

namespace espalier {
namespace {
std::map<std::string, Operator>& registry() {
  static std::map<std::string, Operator> operators;
  return operators;
}
}  // namespace

Cost& Cost::operator+=(const Cost& other) {
  flops += other.flops;
  weight_bytes += other.weight_bytes;
  return *this;
}

double NodeView::param_bytes() const {
  double bytes = 0;
  for (const auto& [role, name] : node_.params) bytes += static_cast<double>(graph_.parameter(name).byte_size());
  return bytes;
}

RegisterOperator::RegisterOperator(Operator op) {
  std::string name = op.name;
  ESP_ASSERT(registry().emplace(name, std::move(op)).second, "operator {} registered twice", name);
}

const Operator& find_operator(const std::string& name) {
  auto found = registry().find(name);
  ESP_ASSERT(found != registry().end(), "unknown operator {}", name);
  return found->second;
}

std::vector<std::string> operator_names() {
  std::vector<std::string> names;
  for (const auto& [name, op] : registry()) names.push_back(name);
  return names;
}

void infer_shapes(Graph& graph, const std::vector<Shape>& inputs) {
  ESP_ASSERT(inputs.size() == graph.inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) graph.values[static_cast<size_t>(graph.inputs[i])].shape = inputs[i];
  for (const auto& node : graph.nodes) {
    auto shapes = find_operator(node.op).infer(NodeView(graph, node));
    ESP_ASSERT(shapes.size() == node.outputs.size(), "{}", node.name);
    for (size_t i = 0; i < shapes.size(); ++i) graph.values[static_cast<size_t>(node.outputs[i])].shape = std::move(shapes[i]);
  }
}

std::vector<Shape> input_shapes(const Graph& graph) {
  std::vector<Shape> shapes;
  for (ValueId input : graph.inputs) {
    const Shape& known = graph.values[static_cast<size_t>(input)].shape;
    shapes.push_back(known.empty() ? Shape{1, 1} : known);
  }
  return shapes;
}

Cost cost_of(const Graph& graph, const Node& node) { return find_operator(node.op).cost(NodeView(graph, node)); }

Cost total_cost(const Graph& graph) {
  Cost total;
  for (const auto& node : graph.nodes) total += cost_of(graph, node);
  return total;
}

Size measure_size(const Graph& graph, int64_t tokens) {
  Graph shaped = graph.clone();
  infer_shapes(shaped, {{1, tokens}});
  return {graph.parameter_count(), total_cost(shaped).flops / static_cast<double>(tokens), graph.parameter_bytes()};
}

void shape_mismatch(const NodeView& view, const std::string& what, const std::string& expected, const Shape& found) {
  throw UserError(view.node().name, what, expected, to_string(found));
}

Cost elementwise_cost(const NodeView& view, double flops_per_element) {
  return {flops_per_element * static_cast<double>(element_count(view.output(0))), view.param_bytes()};
}

void Coupler::tie_all(const Atoms& a, const Atoms& b) {
  if (a.empty() || b.empty()) {
    freeze(a.empty() ? b : a);
    return;
  }
  ESP_ASSERT(a.size() == b.size(), "tie of {} and {} atoms", a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) tie(a[i], b[i]);
}

void Coupler::tie_runs(const Atoms& atoms, int64_t size) {
  for (size_t i = 0; i < atoms.size(); ++i) tie(atoms[i], atoms[i - i % static_cast<size_t>(size)]);
}

}  // namespace espalier
