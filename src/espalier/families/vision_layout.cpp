// The pieces of vision_builder.h that have no weights.
#include "espalier/core/error.h"
#include "espalier/families/vision_builder.h"

namespace espalier {
namespace {
using List = std::vector<int64_t>;
}

ValueId VisionBuilder::activation(const std::string& name, ValueId x, const std::string& kind) {
  return emit("Activation", name, {x}, {{"kind", kind}});
}

ValueId VisionBuilder::relu6(const std::string& name, ValueId x) {
  return emit("Activation", name, {x}, {{"kind", std::string("clip")}, {"min", 0.0}, {"max", 6.0}});
}

ValueId VisionBuilder::max_pool(const std::string& name, ValueId x, int64_t kernel, int64_t stride, int64_t padding,
                                bool ceil) {
  Attributes attributes{{"kernel_shape", List{kernel, kernel}},
                        {"strides", List{stride, stride}},
                        {"pads", List{padding, padding, padding, padding}}};
  if (ceil) attributes["ceil_mode"] = true;
  return emit("MaxPool", name, {x}, std::move(attributes));
}

ValueId VisionBuilder::average_pool(const std::string& name, ValueId x, int64_t kernel) {
  return emit("AveragePool", name, {x}, {{"kernel_shape", List{kernel, kernel}}, {"strides", List{kernel, kernel}}});
}

ValueId VisionBuilder::pooled_features(const std::string& name, ValueId x) {
  return flatten(name + ".flatten", emit("GlobalAveragePool", name, {x}));
}

ValueId VisionBuilder::concat(const std::string& name, const std::vector<ValueId>& inputs, int64_t axis) {
  return emit("Concat", name, inputs, {{"axis", axis}});
}

std::vector<ValueId> VisionBuilder::split(const std::string& name, ValueId x, int64_t axis, const List& sizes) {
  Node node;
  node.op = "Split";
  node.name = name;
  node.inputs = {x};
  node.attributes = {{"axis", axis}, {"sizes", sizes}};
  return emit_all(std::move(node), sizes.size());
}

ValueId VisionBuilder::reshape(const std::string& name, ValueId x, const List& shape) {
  return emit("Reshape", name, {x}, {{"shape", shape}});
}

ValueId VisionBuilder::transpose(const std::string& name, ValueId x, const List& perm) {
  return emit("Transpose", name, {x}, {{"perm", perm}});
}

ValueId VisionBuilder::pad(const std::string& name, ValueId x, const List& pads) {
  return emit("Pad", name, {x}, {{"pads", pads}});
}

ValueId VisionBuilder::slice(const std::string& name, ValueId x, const List& axes, const List& ends, int64_t step) {
  return emit("Slice", name, {x},
              {{"axes", axes}, {"starts", List(axes.size(), 0)}, {"ends", ends}, {"steps", List(axes.size(), step)}});
}

ValueId VisionBuilder::gather(const std::string& name, ValueId x, int64_t axis, const List& indices) {
  return emit("Gather", name, {x}, {{"axis", axis}, {"indices", indices}});
}

ValueId VisionBuilder::pick(const std::string& name, ValueId x, int64_t axis, int64_t index) {
  return emit("Gather", name, {x}, {{"axis", axis}, {"indices", List{index}}, {"scalar", true}});
}

ValueId VisionBuilder::reduce_mean(const std::string& name, ValueId x, int64_t axis) {
  return emit("ReduceMean", name, {x}, {{"axes", List{axis}}, {"keepdims", false}});
}

ValueId VisionBuilder::attention(const std::string& name, ValueId q, ValueId k, ValueId v, const AttentionSpec& spec) {
  return emit("Attention", name, {q, k, v}, {{"head_size", spec.head_size}, {"scale", spec.scale}, {"causal", false}});
}

}  // namespace espalier
