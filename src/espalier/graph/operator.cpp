#include "espalier/graph/operator.h"

#include <map>
#include <optional>

#include "espalier/core/checked.h"
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

namespace {
constexpr uint64_t kMostElements = uint64_t{1} << 46;

// Attributes come from files, so what follows from them may be absurd.
void check_size(const Node& node, const Shape& shape) {
  std::optional<uint64_t> count = 1;
  for (int64_t size : shape) {
    if (size < 0) throw UserError(node.name, "output", "sizes of at least 0", fmt::format("{}", size));
    if (size > 0) count = checked_mul(*count, static_cast<uint64_t>(size));
    if (!count || *count > kMostElements)
      throw UserError(node.name, "output", "fewer elements", fmt::format("[{}]", fmt::join(shape, ", ")));
  }
}
}  // namespace

std::vector<Shape> infer_node(const Graph& graph, const Node& node) {
  auto shapes = find_operator(node.op).infer(NodeView(graph, node));
  ESP_ASSERT(shapes.size() == node.outputs.size(), "{}", node.name);
  for (const Shape& shape : shapes) check_size(node, shape);
  return shapes;
}

std::vector<Shape> infer_outputs(const Graph& graph, const Node& node) {
  auto shapes = find_operator(node.op).infer(NodeView(graph, node));
  for (const Shape& shape : shapes) check_size(node, shape);
  return shapes;
}

void infer_shapes(Graph& graph, const std::vector<Shape>& inputs) {
  ESP_ASSERT(inputs.size() == graph.inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) graph.values[static_cast<size_t>(graph.inputs[i])].shape = inputs[i];
  for (const auto& node : graph.nodes) {
    auto shapes = infer_node(graph, node);
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

size_t checked_axis(const NodeView& view, int64_t axis, size_t rank) {
  const auto size = static_cast<int64_t>(rank);
  if (axis < -size || axis >= size)
    throw UserError(view.node().name, "axis", fmt::format("{} to {}", -size, size - 1), fmt::format("{}", axis));
  return static_cast<size_t>(axis < 0 ? axis + size : axis);
}

int64_t size_product(const NodeView& view, int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product))
    throw UserError(view.node().name, "size", "one of fewer than 2^63", fmt::format("{} times {}", a, b));
  return product;
}

void check_rank(const NodeView& view, const Shape& shape, size_t least, size_t most) {
  if (shape.size() < least || shape.size() > most)
    shape_mismatch(view, "input",
                   least == most ? fmt::format("{} dims", least) : fmt::format("{} to {} dims", least, most), shape);
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

void Coupler::tie_strided(const Atoms& atoms, int64_t size) {
  for (size_t i = 0; i < atoms.size(); ++i) tie(atoms[i], atoms[i % static_cast<size_t>(size)]);
}

void Coupler::tie_runs(const Atoms& atoms, int64_t size) {
  for (size_t i = 0; i < atoms.size(); ++i) tie(atoms[i], atoms[i - i % static_cast<size_t>(size)]);
}

}  // namespace espalier
