// Biases that are added after their layer, and the repeated heads of grouped queries.
#include "espalier/families/onnx/patterns_view.h"

namespace espalier {

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
    if (!layer || (layer->op != "Linear" && layer->op != "Conv" && layer->op != "ConvTranspose")) continue;
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

}  // namespace espalier
