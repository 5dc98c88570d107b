// Biases that are added after their layer, the repeated heads of grouped queries, and what broadcasting does anyway.
#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_set>

#include "espalier/families/onnx/patterns.h"
#include "espalier/families/onnx/patterns_view.h"
#include "espalier/graph/node_kinds.h"

namespace espalier {
namespace {

constexpr std::array kBroadcasting = {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "Compare"};

// Whether the others stretch this shape as far as `whole`.
bool stretched_by_others(const PatternView& view, const Node& node, size_t side, const Shape& own, const Shape& whole) {
  for (size_t d = 1; d <= whole.size(); ++d) {
    auto size = [&](const Shape& shape) { return d <= shape.size() ? shape[shape.size() - d] : 1; };
    int64_t reached = size(own);
    for (size_t i = 0; i < node.inputs.size(); ++i)
      if (i != side && reached == 1) reached = size(view.shape(node.inputs[i]));
    if (reached != whole[whole.size() - d]) return false;
  }
  return true;
}

}  // namespace

// An Expand (a mask for every head) before an operator that broadcasts would be a dead dim beside the live heads.
bool fuse_broadcast(PatternView& view, size_t i) {
  const Node& node = view.node(i);
  if (std::find(kBroadcasting.begin(), kBroadcasting.end(), node.op) == kBroadcasting.end()) return false;
  for (size_t side = 0; side < node.inputs.size(); ++side) {
    const Node* expand = view.maker(node.inputs[side], "Expand");
    if (!expand || expand->inputs.size() != 1) continue;
    const ValueId narrow = expand->inputs[0];
    if (!stretched_by_others(view, node, side, view.shape(narrow), view.shape(node.outputs[0]))) continue;
    Node direct = node;
    direct.inputs[side] = narrow;
    view.replace(i, std::move(direct));
    return true;
  }
  return false;
}

// Unsqueeze, Expand and Reshape: each index of a dim several times in a row.
bool fuse_repeat(PatternView& view, size_t i) {
  const Node& merge = view.node(i);
  const Node* expand = merge.op == "Reshape" ? view.maker(merge.inputs[0], "Expand") : nullptr;
  const Node* open = expand && expand->inputs.size() == 1 ? view.maker(expand->inputs[0], "Unsqueeze") : nullptr;
  if (!open || open->integers("axes").size() != 1) return false;
  const ValueId x = open->inputs[0];
  const Shape &before = view.shape(expand->inputs[0]), &after = view.shape(merge.inputs[0]);
  const int64_t given = open->integers("axes")[0];
  const int64_t axis = given < 0 ? given + std::ssize(before) : given;
  if (axis < 1 || before.size() != after.size()) return false;
  const auto at = static_cast<size_t>(axis);
  Shape repeated = view.shape(x), stretched = before;
  stretched[at] = after[at];
  repeated[at - 1] *= after[at];
  if (after != stretched || view.shape(merge.outputs[0]) != repeated || after[at] < 1) return false;
  view.replace(i, {"Repeat", "", {x}, {}, {}, {{"axis", axis - 1}, {"repeats", after[at]}}});
  return true;
}

bool fuse_bias(PatternView& view, size_t i) {
  const Node& sum = view.node(i);
  if (sum.op != "Add") return false;
  for (size_t side = 0; side < 2; ++side) {
    const ValueId product = sum.inputs[side];
    const Node* layer = view.maker(product);
    if (!layer || !is_matrix_layer(*layer)) continue;
    if (layer->has_param("bias") || view.reads(product) != 1) continue;
    const Shape shape = view.shape(product);
    if (view.shape(sum.outputs[0]) != shape || shape.empty()) continue;
    const size_t axis = layer->op == "Linear" ? shape.size() - 1 : 1;
    const std::string bias = view.channel_parameter(sum.inputs[1 - side], axis, shape.size(), shape[axis]);
    if (bias.empty()) continue;
    Node whole = *layer;
    whole.params["bias"] = bias;
    view.replace(i, std::move(whole));
    return true;
  }
  return false;
}

void fix_tables(Graph& graph) {
  std::vector<std::vector<NodeId>> constants(graph.values.size());  // of a value that is computed from nothing else
  std::unordered_set<NodeId> fixed;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (node.op == "Constant") constants[static_cast<size_t>(node.outputs[0])] = {static_cast<NodeId>(n)};
    if (node.inputs.empty()) continue;
    std::vector<NodeId>& first = constants[static_cast<size_t>(node.inputs[0])];
    if (is_matrix_layer(node)) fixed.insert(first.begin(), first.end());
    const bool all = std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return !constants[static_cast<size_t>(v)].empty(); });
    if (!all || !node.params.empty()) continue;
    std::vector<NodeId> behind;
    for (ValueId input : node.inputs)
      for (NodeId constant : constants[static_cast<size_t>(input)])
        if (behind.size() < 16 && std::count(behind.begin(), behind.end(), constant) == 0) behind.push_back(constant);
    for (ValueId output : node.outputs) constants[static_cast<size_t>(output)] = behind;
  }
  for (NodeId n : fixed) {
    if (!graph.nodes[static_cast<size_t>(n)].has_param("value")) continue;
    std::vector<int64_t> axes(graph.parameter_of(graph.nodes[static_cast<size_t>(n)], "value").shape().size());
    std::iota(axes.begin(), axes.end(), 0);
    graph.nodes[static_cast<size_t>(n)].attributes["fixed_axes"] = axes;
  }
}

// Keras adds [heads, size] after it has taken the heads apart: a bias of the Linear before the Reshape.
bool fuse_head_bias(PatternView& view, size_t i) {
  const Node& sum = view.node(i);
  if (sum.op != "Add") return false;
  for (size_t side = 0; side < 2; ++side) {
    const ValueId apart = sum.inputs[side];
    const Node* reshape = view.maker(apart, "Reshape");
    const Node* layer = reshape ? view.maker(reshape->inputs[0], "Linear") : nullptr;
    if (!layer || layer->has_param("bias") || view.reads(apart) != 1 || view.reads(reshape->inputs[0]) != 1) continue;
    const Shape &shape = view.shape(apart), &flat = view.shape(reshape->inputs[0]);
    if (view.shape(sum.outputs[0]) != shape || shape.size() < 2 || flat.empty()) continue;
    const Shape heads(shape.end() - 2, shape.end());
    if (element_count(heads) != flat.back()) continue;
    const std::string bias = view.flat_parameter(sum.inputs[1 - side], heads);
    if (bias.empty()) continue;
    Node whole = *layer, again = *reshape;
    whole.params["bias"] = bias;
    view.replace(view.index_of(*layer), std::move(whole));
    view.replace(i, std::move(again));
    return true;
  }
  return false;
}

}  // namespace espalier
