// Elementwise operators with several inputs, casts and constants.
#include "espalier/core/error.h"
#include "espalier/families/onnx/export_emitter.h"

namespace espalier::emit_elementwise {
namespace {

// The operator has the same name in ONNX.
void same_name(OnnxEmitter& e) {
  OnnxDataType type;
  auto inputs = e.unified(0, type);
  e.finish({e.node().op, std::move(inputs)}, type);
}

void where(OnnxEmitter& e) {
  OnnxDataType type;
  auto inputs = e.unified(1, type);
  inputs.insert(inputs.begin(), e.cast(e.in(0), e.type(0), OnnxDataType::kBool));
  e.finish({"Where", std::move(inputs)}, type);
}

void compare(OnnxEmitter& e) {
  static const std::map<std::string, std::string> names = {
      {"equal", "Equal"},     {"less", "Less"}, {"less_or_equal", "LessOrEqual"}, {"greater", "Greater"},
      {"greater_or_equal", "GreaterOrEqual"}, {"and", "And"},   {"or", "Or"},   {"xor", "Xor"}};
  const std::string kind = e.node().text("kind"), op = names.at(kind);
  if (kind == "and" || kind == "or" || kind == "xor")
    return e.finish({op,
                     {e.cast(e.in(0), e.type(0), OnnxDataType::kBool), e.cast(e.in(1), e.type(1), OnnxDataType::kBool)}},
                    OnnxDataType::kBool);
  OnnxDataType type;
  const auto inputs = e.unified(0, type);
  if (!op.ends_with("OrEqual") || e.opset() >= 12) return e.finish({op, inputs}, OnnxDataType::kBool);
  const std::string strict = e.emit(op.substr(0, op.size() - 7), inputs), equal = e.emit("Equal", inputs);
  e.finish({"Or", {strict, equal}}, OnnxDataType::kBool);
}

// "float" is the file's own floating type where the source has the very cast.
OnnxDataType cast_target(const OnnxEmitter& e) {
  const std::string to = e.node().text("to");
  if (to == "int64") return OnnxDataType::kInt64;
  if (to == "bool") return OnnxDataType::kBool;
  const OnnxDataType said = e.source_type(e.graph_name(e.node().outputs[0]));
  if (is_floating(said)) return said;
  return is_floating(e.type()) ? e.type() : OnnxDataType::kFloat;
}

void cast(OnnxEmitter& e) {
  const OnnxDataType to = cast_target(e);
  e.finish({"Cast", {e.in()}, {onnx_int("to", static_cast<int64_t>(to))}}, to);
}

// The initialiser itself; outputs of the graph get an Identity.
void constant(OnnxEmitter& e) {
  if (e.node().has_param("value")) {
    const OnnxDataType type = e.value_type_of("value");
    return e.finish_as(e.param("value", type), type);
  }
  const auto& values = std::get<std::vector<double>>(e.node().attributes.at("values"));
  const Tensor tensor = Tensor::from_floats(e.node().integers("shape"), std::vector<float>(values.begin(), values.end()));
  e.finish_as(e.constant(e.graph_name(e.node().outputs[0]), tensor), OnnxDataType::kFloat);
}

void gate(OnnxEmitter& e) { e.finish("Mul", {e.in(), e.param("gate", e.type())}); }
void prelu(OnnxEmitter& e) { e.finish("PRelu", {e.in(), e.param("slope", e.type())}); }

const RegisterOnnxEmit registered[] = {
    {"Add", same_name}, {"Sub", same_name}, {"Mul", same_name}, {"Div", same_name},   {"Pow", same_name},
    {"Max", same_name}, {"Min", same_name}, {"Where", where},   {"Compare", compare}, {"Cast", cast},
    {"Gate", gate},     {"PRelu", prelu},   {"Constant", constant}};

}  // namespace
}  // namespace espalier::emit_elementwise
