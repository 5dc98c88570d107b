#include "espalier/families/onnx/graph_growth.h"

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier {
namespace {

std::vector<Shape> shapes_of(GraphGrowth& growth, const Node& node, bool other) {
  std::vector<std::pair<size_t, Shape>> saved;
  for (ValueId input : node.inputs) {
    const auto at = static_cast<size_t>(input);
    saved.emplace_back(at, growth.graph.values[at].shape);
    if (other) growth.graph.values[at].shape = growth.other_shapes[at];
  }
  std::vector<Shape> shapes;
  try {
    shapes = infer_node(growth.graph, node);
  } catch (const UserError&) {
    shapes.clear();
  }
  for (auto entry = saved.rbegin(); entry != saved.rend(); ++entry)
    growth.graph.values[entry->first].shape = std::move(entry->second);
  return shapes;
}

}  // namespace

bool NodeRun::add(Node node, const std::string& hint, size_t outputs) {
  node.outputs.assign(outputs, -1);
  const auto shapes = shapes_of(growth_, node, false), others = shapes_of(growth_, node, true);
  if (shapes.empty() || others.empty()) return false;
  node.name = growth_.new_node_name(hint);
  for (size_t i = 0; i < outputs; ++i) {
    const ValueId value = growth_.new_value(hint);
    growth_.graph.values[static_cast<size_t>(value)].shape = shapes[i];
    growth_.other_shapes[static_cast<size_t>(value)] = others[i];
    node.outputs[i] = value;
  }
  nodes_.push_back(std::move(node));
  return true;
}

bool NodeRun::finish(ValueId value) {
  const ValueId made = last();
  if (growth_.shape(made, false) != growth_.shape(value, false) || growth_.shape(made, true) != growth_.shape(value, true))
    return false;
  nodes_.back().outputs[0] = value;
  return true;
}

}  // namespace espalier
