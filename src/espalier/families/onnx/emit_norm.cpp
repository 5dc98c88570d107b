// Norms. Those over heads run between two Reshapes.
#include "espalier/families/onnx/export_emitter.h"

namespace espalier::emit_norm {
namespace {

std::string epsilon(OnnxEmitter& e) { return e.scalar(e.node().real("epsilon"), e.type()); }
OnnxAttribute epsilon_attribute(OnnxEmitter& e) {
  return onnx_float("epsilon", static_cast<float>(e.node().real("epsilon")));
}

OnnxCall affine(OnnxEmitter& e, OnnxCall call) {
  if (e.node().has_param("weight")) call = {"Mul", {e.emit(std::move(call)), e.param("weight", e.type())}};
  if (e.node().has_param("bias")) call = {"Add", {e.emit(std::move(call)), e.param("bias", e.type())}};
  return call;
}

std::string mean_of_squares(OnnxEmitter& e, const std::string& x) {
  const std::string square = e.emit("Pow", {x, e.scalar(2, e.type())});
  return e.emit(e.reduce_call("ReduceMean", square, {-1}, true));
}

OnnxCall rms_norm(OnnxEmitter& e, const std::string& x) {
  const std::string root = e.emit("Sqrt", {e.emit("Add", {mean_of_squares(e, x), epsilon(e)})});
  return affine(e, {"Mul", {x, e.emit("Reciprocal", {root})}});
}

OnnxCall layer_norm(OnnxEmitter& e, const std::string& x) {
  const int64_t width = e.node().integer_or("head_size", 0) > 0 ? e.node().integer("head_size") : e.shape().back();
  if (e.opset() >= 17)
    return {"LayerNormalization",
            {x, e.param_or_filled("weight", width, 1, e.type()),
             e.node().has_param("bias") ? e.param("bias", e.type()) : ""},
            {onnx_int("axis", -1), epsilon_attribute(e)}};
  const std::string centred = e.emit("Sub", {x, e.emit(e.reduce_call("ReduceMean", x, {-1}, true))});
  const std::string root = e.emit("Sqrt", {e.emit("Add", {mean_of_squares(e, centred), epsilon(e)})});
  return affine(e, {"Div", {centred, root}});
}

// The last dim [heads · size] as [heads, size] for the norm alone; 0 keeps the dims before.
template <OnnxCall (*norm)(OnnxEmitter&, const std::string&)>
void over_last_dim(OnnxEmitter& e) {
  const int64_t head_size = e.node().integer_or("head_size", 0);
  if (head_size == 0) return e.finish(norm(e, e.in()));
  std::vector<int64_t> heads(e.shape().size(), 0), whole = heads;
  heads.back() = e.shape().back() / head_size;
  heads.push_back(head_size);
  whole.back() = e.shape().back();
  const std::string normalised = e.emit(norm(e, e.reshape(e.in(), heads)));
  e.finish("Reshape", {normalised, e.ints(whole)});
}

void batch_norm(OnnxEmitter& e) {
  const int64_t channels = e.shape()[1];
  e.finish("BatchNormalization",
           {e.in(), e.param_or_filled("weight", channels, 1, e.type()), e.param_or_filled("bias", channels, 0, e.type()),
            e.param_or_filled("mean", channels, 0, e.type()), e.param_or_filled("var", channels, 1, e.type())},
           {epsilon_attribute(e)});
}

void instance_norm(OnnxEmitter& e) {
  const int64_t channels = e.shape()[1];
  e.finish("InstanceNormalization",
           {e.in(), e.param_or_filled("weight", channels, 1, e.type()), e.param_or_filled("bias", channels, 0, e.type())},
           {epsilon_attribute(e)});
}

// What makes [n, groups, -1] the input's shape again.
std::string shape_of_input(OnnxEmitter& e) {
  std::vector<int64_t> shape = e.shape();
  shape[0] = 0;
  for (size_t axis = 1; axis < shape.size(); ++axis)
    if (!e.is_fixed(0, axis)) return e.emit("Shape", {e.in()});
  return e.ints(shape);
}

// [C] beside [n, C, …]
std::string beside_positions(OnnxEmitter& e, const std::string& role) {
  std::vector<int64_t> axes;
  for (size_t axis = 1; axis + 1 < e.shape().size(); ++axis) axes.push_back(static_cast<int64_t>(axis));
  const std::string channels = e.param(role, e.type());
  return axes.empty() ? channels : e.unsqueeze(channels, axes);
}

void group_norm(OnnxEmitter& e) {
  const int64_t groups = e.node().integer("num_groups"), channels = e.shape()[1];
  if (e.opset() >= 21)
    return e.finish(
        "GroupNormalization",
        {e.in(), e.param_or_filled("weight", channels, 1, e.type()), e.param_or_filled("bias", channels, 0, e.type())},
        {epsilon_attribute(e), onnx_int("num_groups", groups)});
  // Before 21 its weights are one a group. Groups are the channels of an instance norm.
  const std::string normalised =
      e.emit("InstanceNormalization",
             {e.reshape(e.in(), {0, groups, -1}), e.filled({groups}, 1, e.type()), e.filled({groups}, 0, e.type())},
             {epsilon_attribute(e)});
  OnnxCall call{"Reshape", {normalised, shape_of_input(e)}};
  if (e.node().has_param("weight")) call = {"Mul", {e.emit(std::move(call)), beside_positions(e, "weight")}};
  if (e.node().has_param("bias")) call = {"Add", {e.emit(std::move(call)), beside_positions(e, "bias")}};
  e.finish(std::move(call));
}

const RegisterOnnxEmit registered[] = {{"RMSNorm", over_last_dim<rms_norm>},
                                       {"LayerNorm", over_last_dim<layer_norm>},
                                       {"BatchNorm", batch_norm},
                                       {"InstanceNorm", instance_norm},
                                       {"GroupNorm", group_norm}};

}  // namespace
}  // namespace espalier::emit_norm
