#include "espalier/families/onnx/patterns.h"

#include <cmath>

#include "espalier/families/onnx/patterns_view.h"

namespace espalier {

PatternView::PatternView(Graph& graph)
    : graph_(graph), makers_(graph.values.size(), -1), reads_(graph.values.size(), 0) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (ValueId input : graph.nodes[i].inputs) ++reads_[static_cast<size_t>(input)];
    for (ValueId output : graph.nodes[i].outputs) makers_[static_cast<size_t>(output)] = static_cast<NodeId>(i);
  }
  for (ValueId output : graph.outputs) ++reads_[static_cast<size_t>(output)];
}

const Node* PatternView::maker(ValueId value) const {
  const NodeId node = makers_[static_cast<size_t>(value)];
  return node < 0 ? nullptr : &graph_.nodes[static_cast<size_t>(node)];
}

const Node* PatternView::maker(ValueId value, std::string_view op) const {
  const Node* node = maker(value);
  return node && node->op == op ? node : nullptr;
}

const Node* PatternView::activation(ValueId value, std::string_view kind) const {
  const Node* node = maker(value, "Activation");
  return node && node->text("kind") == kind ? node : nullptr;
}

std::optional<double> PatternView::scalar(ValueId value) const {
  const Node* node = maker(value, "Constant");
  if (!node) return std::nullopt;
  const Parameter& parameter = graph_.parameter_of(*node, "value");
  if (parameter.count() != 1 || !is_floating(parameter.dtype())) return std::nullopt;
  return parameter.load().to_floats()[0];
}

bool PatternView::is_scalar(ValueId value, double expected) const {
  const auto found = scalar(value);
  return found && std::fabs(*found - expected) <= 1e-4 * std::max(1.0, std::fabs(expected));
}

namespace {

// The parameter's numbers in one dim.
std::string vector_of(Graph& graph, const std::string& name) {
  const Parameter& parameter = graph.parameter(name);
  if (parameter.shape().size() == 1) return name;
  const std::string vector = name + ".vector";
  const int64_t size = parameter.count();
  if (!graph.has_parameter(vector))
    graph.add_parameter(Parameter(vector, parameter.dtype(), {size}, [source = parameter, size] {
      const auto owner = std::make_shared<const Tensor>(source.load());
      return Tensor(owner->dtype(), {size}, owner, owner->bytes());
    }));
  return vector;
}

}  // namespace

std::string PatternView::channel_parameter(ValueId constant, size_t axis, size_t rank, int64_t size) {
  const Node* node = maker(constant, "Constant");
  if (!node) return "";
  const std::string& name = node->params.at("value");
  const Parameter& parameter = graph_.parameter(name);
  const Shape& shape = parameter.shape();
  if (parameter.count() != size || shape.size() > rank || shape.size() + axis < rank || !is_floating(parameter.dtype()))
    return "";
  if (shape[axis + shape.size() - rank] != size) return "";
  return vector_of(graph_, name);
}

std::string PatternView::flat_parameter(ValueId constant, const Shape& sizes) {
  const Node* node = maker(constant, "Constant");
  if (!node || !node->has_param("value")) return "";
  const Parameter& parameter = graph_.parameter_of(*node, "value");
  Shape shape = parameter.shape();
  while (shape.size() > sizes.size() && shape[0] == 1) shape.erase(shape.begin());
  return shape == sizes && is_floating(parameter.dtype()) ? vector_of(graph_, node->params.at("value")) : "";
}

void PatternView::replace(size_t i, Node node) {
  Node& old = graph_.nodes[i];
  for (ValueId input : old.inputs) --reads_[static_cast<size_t>(input)];
  for (ValueId input : node.inputs) ++reads_[static_cast<size_t>(input)];
  node.name = old.name;
  node.outputs = old.outputs;
  old = std::move(node);
}

void fuse_biases(Graph& graph) {
  PatternView view(graph);
  for (size_t i = 0; i < graph.nodes.size(); ++i) fuse_bias(view, i);
}

void fuse_patterns(Graph& graph) {
  PatternView view(graph);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    while (fuse_broadcast(view, i)) continue;
    fuse_norm(view, i) || fuse_activation(view, i) || fuse_repeat(view, i) || fuse_bias(view, i) ||
        fuse_head_bias(view, i);
  }
}

}  // namespace espalier
