// Normalisation with statistics of the file (BatchNormalization) or of the values.
#include <algorithm>

#include "espalier/families/onnx/import_ops.h"

namespace espalier::ops_norm {
namespace {

void batch_norm(NodeImport& n) {
  if (n.integer("training_mode", 0) != 0) NodeImport::not_understood("it is in training mode");
  if (n.rank(0) < 2) NodeImport::not_understood("its input has no channels");
  Node node{"BatchNorm", "", {n.value(0)}, {}, {}, {{"epsilon", n.real("epsilon", 1e-5f)}}};
  const char* roles[] = {"weight", "bias", "mean", "var"};
  for (size_t i = 0; i < 4; ++i) node.params[roles[i]] = n.parameter(i + 1, roles[i]);
  n.give(std::move(node));
}

void instance_norm(NodeImport& n) {
  if (n.rank(0) < 3) n.refuse("input", "[n, c, ...]", to_string(n.shape(0)));
  Node node{"InstanceNorm", "", {n.value(0)}, {}, {}, {{"epsilon", n.real("epsilon", 1e-5f)}}};
  node.params["weight"] = n.parameter(1, "weight");
  node.params["bias"] = n.parameter(2, "bias");
  n.give(std::move(node));
}

// Weight and bias of a norm over the last dim, which may come with dims of size 1 before it.
StoredPtr last_dim(const StoredPtr& from, int64_t width) {
  if (!from || element_count(from->shape) != width || from->shape.empty() || from->shape.back() != width)
    NodeImport::not_understood("its weights are not one number a channel");
  if (from->shape.size() == 1) return from;
  auto to = std::make_shared<Stored>(*from);
  to->shape = {width};
  to->form += "|vector";
  to->untransposed = nullptr;
  to->fetch = [from, width] {
    const auto owner = std::make_shared<const Tensor>(from->fetch());
    return Tensor(owner->dtype(), {width}, owner, owner->bytes());
  };
  return to;
}

void last_dim_norm(NodeImport& n, const char* op, size_t bias_input) {
  const size_t rank = n.rank(0);
  if (rank == 0 || n.axis(n.integer("axis", -1), rank) + 1 != rank)
    NodeImport::not_understood("it normalises more than the last dim");
  const int64_t width = n.shape(0).back();
  Node node{op, "", {n.value(0)}, {}, {}, {}};
  node.attributes["epsilon"] = n.real(n.has_attribute("epsilon") ? "epsilon" : "eps", 1e-5f);
  if (n.has(1)) node.params["weight"] = n.parameter(last_dim(n.stored(1), width));
  if (n.has(bias_input)) node.params["bias"] = n.parameter(last_dim(n.stored(bias_input), width));
  n.give(std::move(node));
}

void layer_norm(NodeImport& n) { last_dim_norm(n, "LayerNorm", 2); }
void rms_norm(NodeImport& n) { last_dim_norm(n, "RMSNorm", std::string::npos); }

// Up to operator set 20 the weights are one number a group; the graph wants one a channel.
StoredPtr per_channel(NodeImport& n, const StoredPtr& from, int64_t channels, int64_t groups) {
  if (!from) NodeImport::not_understood("its weights are no tensors of the file");
  if (n.opset() >= 21 || from->shape == Shape{channels}) return from;
  if (from->shape != Shape{groups}) n.refuse("weight", to_string({groups}), to_string(from->shape));
  auto to = std::make_shared<Stored>(*from);
  to->shape = {channels};
  to->form += fmt::format("|each {}", channels / groups);
  to->untransposed = nullptr;
  to->fetch = [from, channels, groups] {
    std::vector<int64_t> indices;
    for (int64_t c = 0; c < channels; ++c) indices.push_back(c / (channels / groups));
    return take(from->fetch(), 0, indices);
  };
  return to;
}

void group_norm(NodeImport& n) {
  const int64_t groups = n.integer("num_groups", 0);
  if (n.rank(0) < 2) n.refuse("input", "[n, c, ...]", to_string(n.shape(0)));
  const int64_t channels = n.shape(0)[1];
  if (groups < 1 || channels % groups != 0)
    n.refuse("num_groups", fmt::format("a divisor of {} channels", channels), std::to_string(groups));
  Node node{"GroupNorm", "", {n.value(0)}, {}, {}, {}};
  node.attributes = {{"num_groups", groups}, {"epsilon", n.real("epsilon", 1e-5f)}};
  node.params["weight"] = n.parameter(per_channel(n, n.stored(1), channels, groups));
  node.params["bias"] = n.parameter(per_channel(n, n.stored(2), channels, groups));
  n.give(std::move(node));
}

// Softmax of operator sets below 13 runs over the axis and all dims after it.
void flat_softmax(NodeImport& n, size_t axis) {
  const Shape& shape = n.shape(0);
  if (axis == 0) NodeImport::not_understood("it runs over all dims");
  std::vector<int64_t> flat(axis, 0), restored(shape.size(), 0);
  flat.push_back(-1);
  std::copy(shape.begin() + static_cast<int64_t>(axis), shape.end(), restored.begin() + static_cast<int64_t>(axis));
  const ValueId x = n.add("flat", "Reshape", {n.value(0)}, {{"shape", flat}});
  const ValueId y = n.add("softmax", "Softmax", {x}, {{"axis", int64_t{-1}}});
  n.give("Reshape", {y}, {{"shape", restored}});
}

size_t softmax_axis(NodeImport& n, bool& flat) {
  const Shape& shape = n.shape(0);
  if (shape.empty()) NodeImport::not_understood("its input is a scalar");
  const size_t axis = n.axis(n.integer("axis", n.opset() < 13 ? 1 : -1), shape.size());
  flat = n.opset() < 13 && std::any_of(shape.begin() + static_cast<int64_t>(axis) + 1, shape.end(),
                                       [](int64_t size) { return size != 1; });
  return axis;
}

void softmax(NodeImport& n) {
  bool flat = false;
  const size_t axis = softmax_axis(n, flat);
  if (flat) return flat_softmax(n, axis);
  n.give("Softmax", {n.value(0)}, {{"axis", static_cast<int64_t>(axis)}});
}

// x − max − log Σ exp(x − max).
void log_softmax(NodeImport& n) {
  bool flat = false;
  const size_t axis = softmax_axis(n, flat);
  if (flat) NodeImport::not_understood("it runs over several dims");
  const std::map<std::string, Attribute> along = {{"axes", std::vector<int64_t>{static_cast<int64_t>(axis)}}};
  const ValueId x = n.value(0), largest = n.add("max", "ReduceMax", {x}, along);
  const ValueId shifted = n.add("shifted", "Sub", {x, largest});
  const ValueId powers = n.add("exp", "Activation", {shifted}, {{"kind", std::string("exp")}});
  const ValueId sum = n.add("sum", "ReduceSum", {powers}, along);
  n.give("Sub", {shifted, n.add("log", "Activation", {sum}, {{"kind", std::string("log")}})});
}

const RegisterOnnxImport registered[] = {
    {"BatchNormalization", batch_norm},
    {"InstanceNormalization", instance_norm},
    {"LayerNormalization", layer_norm},
    {"LayerNormalization", layer_norm, "com.microsoft"},
    {"RMSNormalization", rms_norm},
    {"SimplifiedLayerNormalization", rms_norm},
    {"SimplifiedLayerNormalization", rms_norm, "com.microsoft"},
    {"GroupNormalization", group_norm},
    {"Softmax", softmax},
    {"LogSoftmax", log_softmax},
};

}  // namespace
}  // namespace espalier::ops_norm
