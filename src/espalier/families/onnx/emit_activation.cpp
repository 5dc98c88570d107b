// Activation, by its kind; what an operator set lacks is put together from simpler functions.
#include <cmath>
#include <limits>
#include <numbers>

#include "espalier/core/error.h"
#include "espalier/families/onnx/export_emitter.h"

namespace espalier::emit_activation {
namespace {

std::string number(OnnxEmitter& e, double value) { return e.scalar(value, e.type()); }

OnnxAttribute real_attribute(OnnxEmitter& e, const char* name, double otherwise) {
  return onnx_float(name, static_cast<float>(e.node().real_or(name, otherwise)));
}

// x · function(x)
void times(OnnxEmitter& e, const std::string& factor) { e.finish("Mul", {e.in(), factor}); }

// x/2 · (1 + s), s given
void half_of_one_plus(OnnxEmitter& e, const std::string& s) {
  const std::string product = e.emit("Mul", {e.in(), e.emit("Add", {s, number(e, 1)})});
  e.finish("Mul", {product, number(e, 0.5)});
}

void gelu(OnnxEmitter& e) {
  if (e.opset() >= 20) return e.finish("Gelu", {e.in()});
  half_of_one_plus(e, e.emit("Erf", {e.emit("Div", {e.in(), number(e, std::numbers::sqrt2)})}));
}

void gelu_tanh(OnnxEmitter& e) {
  if (e.opset() >= 20) return e.finish("Gelu", {e.in()}, {onnx_string("approximate", "tanh")});
  const std::string cube = e.emit("Mul", {e.emit("Pow", {e.in(), number(e, 3)}), number(e, 0.044715)});
  const std::string sum = e.emit("Add", {e.in(), cube});
  half_of_one_plus(e, e.emit("Tanh", {e.emit("Mul", {sum, number(e, std::sqrt(2 / std::numbers::pi))})}));
}

void celu(OnnxEmitter& e) {
  if (e.opset() >= 12) return e.finish("Celu", {e.in()}, {real_attribute(e, "alpha", 1)});
  const std::string alpha = number(e, e.node().real_or("alpha", 1));
  e.finish("Mul", {e.emit("Elu", {e.emit("Div", {e.in(), alpha})}), alpha});
}

void clip(OnnxEmitter& e) {
  const auto bound = [&](const char* key) {
    return e.node().attributes.count(key) && std::isfinite(e.node().real(key)) ? number(e, e.node().real(key)) : "";
  };
  e.finish("Clip", {e.in(), bound("min"), bound("max")});
}

void hardswish(OnnxEmitter& e) {
  if (e.opset() >= 14) return e.finish("HardSwish", {e.in()});
  times(e, e.emit("HardSigmoid", {e.in()}, {onnx_float("alpha", 1.0f / 6), onnx_float("beta", 0.5f)}));
}

void mish(OnnxEmitter& e) {
  if (e.opset() >= 18) return e.finish("Mish", {e.in()});
  times(e, e.emit("Tanh", {e.emit("Softplus", {e.in()})}));
}

void logical_not(OnnxEmitter& e) {
  e.finish({"Not", {e.cast(e.in(), e.type(), OnnxDataType::kBool)}}, OnnxDataType::kBool);
}

void with_alpha(OnnxEmitter& e, const char* op, double otherwise) {
  e.finish(op, {e.in()}, {real_attribute(e, "alpha", otherwise)});
}

const std::map<std::string, OnnxEmit>& composed() {
  static const std::map<std::string, OnnxEmit> table = {
      {"silu", [](OnnxEmitter& e) { times(e, e.emit("Sigmoid", {e.in()})); }},
      {"gelu", gelu},
      {"gelu_tanh", gelu_tanh},
      {"quick_gelu",
       [](OnnxEmitter& e) { times(e, e.emit("Sigmoid", {e.emit("Mul", {e.in(), number(e, 1.702)})})); }},
      {"leaky_relu", [](OnnxEmitter& e) { with_alpha(e, "LeakyRelu", 0.01); }},
      {"elu", [](OnnxEmitter& e) { with_alpha(e, "Elu", 1); }},
      {"celu", celu},
      {"clip", clip},
      {"hardsigmoid",
       [](OnnxEmitter& e) {
         e.finish("HardSigmoid", {e.in()}, {real_attribute(e, "alpha", 0.2), real_attribute(e, "beta", 0.5)});
       }},
      {"hardswish", hardswish},
      {"mish", mish},
      {"not", logical_not}};
  return table;
}

const std::map<std::string, std::string>& same() {
  static const std::map<std::string, std::string> table = {
      {"relu", "Relu"},         {"selu", "Selu"},       {"sigmoid", "Sigmoid"}, {"tanh", "Tanh"},
      {"softplus", "Softplus"}, {"softsign", "Softsign"}, {"erf", "Erf"},       {"sqrt", "Sqrt"},
      {"reciprocal", "Reciprocal"}, {"exp", "Exp"},     {"log", "Log"},         {"neg", "Neg"},
      {"abs", "Abs"},           {"sign", "Sign"},       {"floor", "Floor"},     {"ceil", "Ceil"},
      {"round", "Round"},       {"sin", "Sin"},         {"cos", "Cos"}};
  return table;
}

void activation(OnnxEmitter& e) {
  const std::string kind = e.node().text("kind");
  if (const auto op = same().find(kind); op != same().end()) return e.finish(op->second, {e.in()});
  const auto function = composed().find(kind);
  ESP_ASSERT(function != composed().end(), "no ONNX form of the activation {}", kind);
  function->second(e);
}

const RegisterOnnxEmit registered("Activation", activation);

}  // namespace
}  // namespace espalier::emit_activation
