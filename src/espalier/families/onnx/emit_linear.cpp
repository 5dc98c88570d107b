// Linear, MatMul and lookups.
#include "espalier/families/onnx/export_emitter.h"

namespace espalier::emit_linear {
namespace {

// Gemm takes the weight in either layout, but rows alone.
void linear(OnnxEmitter& e) {
  const bool transposed = e.node().flag_or("transposed", false), biased = e.node().has_param("bias");
  const OnnxDataType type = e.type();
  const std::string bias = biased ? e.param("bias", type) : "";
  if (e.shape().size() == 2 && (biased || !transposed)) {
    std::vector<OnnxAttribute> attributes;
    if (!transposed) attributes.push_back(onnx_int("transB", 1));
    return e.finish("Gemm", {e.in(), e.param("weight", type), bias}, std::move(attributes));
  }
  const std::string weight = transposed ? e.param("weight", type) : e.transposed_param("weight", type);
  if (!biased) return e.finish("MatMul", {e.in(), weight});
  e.finish("Add", {e.emit("MatMul", {e.in(), weight}), bias});
}

void matmul(OnnxEmitter& e) {
  OnnxDataType type;
  auto inputs = e.unified(0, type);
  e.finish({"MatMul", std::move(inputs)}, type);
}

std::string as_indices(OnnxEmitter& e) {
  const OnnxDataType type = e.type();
  return type == OnnxDataType::kInt32 ? e.in() : e.cast(e.in(), type, OnnxDataType::kInt64);
}

// Rows are looked up first and cast then, so that a table of another type is not cast as a whole.
void look_up(OnnxEmitter& e, const std::string& indices) {
  const OnnxDataType stored = e.param_type("weight"), type = e.value_type_of("weight");
  const std::vector<std::string> inputs{e.param("weight", stored), indices};
  if (stored == type) return e.finish({"Gather", inputs, {onnx_int("axis", 0)}}, type);
  const std::string rows = e.emit("Gather", inputs, {onnx_int("axis", 0)});
  e.finish({"Cast", {rows}, {onnx_int("to", static_cast<int64_t>(type))}}, type);
}

void embedding(OnnxEmitter& e) { look_up(e, as_indices(e)); }

// Row numbers offset, offset + 1, … for each sequence: [tokens], expanded to the shape of the ids.
void position_embedding(OnnxEmitter& e) {
  const int64_t offset = e.node().integer_or("offset", 0), last = static_cast<int64_t>(e.shape().size()) - 1;
  const std::string shape = e.emit("Shape", {e.in()});
  std::string end = e.emit("Gather", {shape, e.integer(last)}, {onnx_int("axis", 0)});
  if (offset != 0) end = e.emit("Add", {end, e.integer(offset)});
  const std::string positions = e.emit("Range", {e.integer(offset), end, e.integer(1)});
  look_up(e, e.emit("Expand", {positions, shape}));
}

const RegisterOnnxEmit registered[] = {{"Linear", linear},
                                       {"MatMul", matmul},
                                       {"Embedding", embedding},
                                       {"PositionEmbedding", position_embedding}};

}  // namespace
}  // namespace espalier::emit_linear
