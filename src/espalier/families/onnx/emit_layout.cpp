// Operators that move values without changing them.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/families/onnx/export_emitter.h"

namespace espalier::emit_layout {
namespace {

void reshape(OnnxEmitter& e) { e.finish("Reshape", {e.in(), e.ints(e.node().integers("shape"))}); }
void flatten(OnnxEmitter& e) { e.finish("Flatten", {e.in()}, {onnx_int("axis", e.node().integer_or("axis", 1))}); }
void transpose(OnnxEmitter& e) { e.finish("Transpose", {e.in()}, {onnx_ints("perm", e.node().integers("perm"))}); }
void squeeze(OnnxEmitter& e) { e.finish(e.squeeze_call(e.node().op, e.in(), e.node().integers("axes"))); }
void tile(OnnxEmitter& e) { e.finish("Tile", {e.in(), e.ints(e.node().integers("repeats"))}); }

void concat(OnnxEmitter& e) {
  OnnxDataType type;
  auto inputs = e.unified(0, type);
  e.finish({"Concat", std::move(inputs), {onnx_int("axis", e.node().integer("axis"))}}, type);
}

void split(OnnxEmitter& e) {
  const auto& sizes = e.node().integers("sizes");
  const OnnxAttribute axis = onnx_int("axis", e.node().integer_or("axis", -1));
  if (e.opset() >= 13) return e.finish("Split", {e.in(), e.ints(sizes)}, {axis});
  e.finish("Split", {e.in()}, {axis, onnx_ints("split", sizes)});
}

void slice(OnnxEmitter& e) {
  const Node& node = e.node();
  const bool steps = node.attributes.count("steps") != 0;
  e.finish("Slice", {e.in(), e.ints(node.integers("starts")), e.ints(node.integers("ends")),
                     e.ints(node.integers("axes")), steps ? e.ints(node.integers("steps")) : ""});
}

void gather(OnnxEmitter& e) {
  const auto& indices = e.node().integers("indices");
  const bool scalar = e.node().flag_or("scalar", false);
  e.finish("Gather", {e.in(), scalar ? e.integer(indices.at(0)) : e.ints(indices)},
           {onnx_int("axis", e.node().integer("axis"))});
}

// With a second input the first size is that of its dim 0.
void expand(OnnxEmitter& e) {
  std::vector<int64_t> shape = e.node().integers("shape");
  if (e.node().inputs.size() == 1) return e.finish("Expand", {e.in(), e.ints(shape)});
  shape.insert(shape.begin(), e.output_shape().size() - shape.size(), 1);
  shape.erase(shape.begin());
  std::string wanted = e.emit("Gather", {e.emit("Shape", {e.in(1)}), e.ints({0})}, {onnx_int("axis", 0)});
  if (!shape.empty()) wanted = e.emit("Concat", {wanted, e.ints(shape)}, {onnx_int("axis", 0)});
  e.finish("Expand", {e.in(), wanted});
}

// The shape after a Repeat: constant while at most one size beyond those that a 0 can copy is open.
std::string repeated_shape(OnnxEmitter& e, size_t axis, int64_t repeats) {
  std::vector<int64_t> shape = e.shape(), factors(shape.size(), 1);
  std::fill_n(shape.begin(), axis, 0);
  shape[axis] *= repeats;
  factors[axis] = repeats;
  int open = 0;
  for (size_t i = axis; i < shape.size(); ++i)
    if (!e.is_fixed(0, i)) {
      shape[i] = -1;
      ++open;
    }
  return open <= 1 ? e.ints(shape) : e.emit("Mul", {e.emit("Shape", {e.in()}), e.ints(factors)});
}

void repeat(OnnxEmitter& e) {
  const int64_t rank = std::ssize(e.shape()), given = e.node().integer("axis"), repeats = e.node().integer("repeats");
  const int64_t axis = given < 0 ? given + rank : given;
  std::vector<int64_t> stretched(static_cast<size_t>(rank + 1), 1);
  stretched[static_cast<size_t>(axis + 1)] = repeats;
  const std::string copies = e.emit("Expand", {e.unsqueeze(e.in(), {axis + 1}), e.ints(stretched)});
  e.finish("Reshape", {copies, repeated_shape(e, static_cast<size_t>(axis), repeats)});
}

void pad(OnnxEmitter& e) {
  const std::string mode = e.node().text_or("mode", "constant");
  const double value = e.node().real_or("value", 0);
  const bool filled = mode == "constant" && value != 0;
  e.finish("Pad", {e.in(), e.ints(e.node().integers("pads")), filled ? e.scalar(value, e.type()) : ""},
           {onnx_string("mode", mode)});
}

const RegisterOnnxEmit registered[] = {
    {"Reshape", reshape}, {"Flatten", flatten}, {"Transpose", transpose}, {"Squeeze", squeeze}, {"Unsqueeze", squeeze},
    {"Tile", tile},       {"Concat", concat},   {"Split", split},         {"Slice", slice},     {"Gather", gather},
    {"Expand", expand},   {"Repeat", repeat},   {"Pad", pad}};

}  // namespace
}  // namespace espalier::emit_layout
