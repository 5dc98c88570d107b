// Elementwise functions of one value.
#include "espalier/families/onnx/import_ops.h"

namespace espalier::ops_activation {
namespace {

void activation(NodeImport& n, const char* kind, std::map<std::string, Attribute> attributes = {}) {
  attributes["kind"] = std::string(kind);
  n.give("Activation", {n.value(0)}, std::move(attributes));
}

// Operators without attributes.
const std::map<std::string, const char*>& plain_kinds() {
  static const std::map<std::string, const char*> table = {{"Relu", "relu"},
                                                           {"Sigmoid", "sigmoid"},
                                                           {"Tanh", "tanh"},
                                                           {"Softplus", "softplus"},
                                                           {"Softsign", "softsign"},
                                                           {"Erf", "erf"},
                                                           {"HardSwish", "hardswish"},
                                                           {"Mish", "mish"},
                                                           {"Exp", "exp"},
                                                           {"Log", "log"},
                                                           {"Sqrt", "sqrt"},
                                                           {"Reciprocal", "reciprocal"},
                                                           {"Neg", "neg"},
                                                           {"Abs", "abs"},
                                                           {"Sign", "sign"},
                                                           {"Floor", "floor"},
                                                           {"Ceil", "ceil"},
                                                           {"Round", "round"},
                                                           {"Sin", "sin"},
                                                           {"Cos", "cos"},
                                                           {"Not", "not"},
                                                           {"QuickGelu", "quick_gelu"}};
  return table;
}

void plain(NodeImport& n) { activation(n, plain_kinds().at(n.op_type())); }

void leaky_relu(NodeImport& n) { activation(n, "leaky_relu", {{"alpha", n.real("alpha", 0.01f)}}); }
void elu(NodeImport& n) { activation(n, "elu", {{"alpha", n.real("alpha", 1)}}); }
void celu(NodeImport& n) { activation(n, "celu", {{"alpha", n.real("alpha", 1)}}); }

void hard_sigmoid(NodeImport& n) {
  activation(n, "hardsigmoid", {{"alpha", n.real("alpha", 0.2f)}, {"beta", n.real("beta", 0.5)}});
}

void selu(NodeImport& n) {
  constexpr float kAlpha = 1.67326319217681884765625f, kGamma = 1.05070102214813232421875f;
  if (static_cast<float>(n.real("alpha", kAlpha)) != kAlpha || static_cast<float>(n.real("gamma", kGamma)) != kGamma)
    NodeImport::not_understood("its alpha and gamma are not the usual ones");
  activation(n, "selu");
}

void gelu(NodeImport& n) {
  const std::string approximate = n.text("approximate", "none");
  if (approximate != "none" && approximate != "tanh") n.refuse("approximate", "none or tanh", printable(approximate));
  activation(n, approximate == "tanh" ? "gelu_tanh" : "gelu");
}

void fast_gelu(NodeImport& n) {
  if (n.has(1)) NodeImport::not_understood("it adds a bias");
  activation(n, "gelu_tanh");
}

void quick_gelu(NodeImport& n) {
  if (static_cast<float>(n.real("alpha", 1.702f)) != 1.702f) NodeImport::not_understood("its alpha is not 1.702");
  activation(n, "quick_gelu");
}

// Bounds that are computed become Max and Min.
void clip(NodeImport& n) {
  std::map<std::string, Attribute> bounds;
  ValueId x = n.value(0);
  for (size_t side = 1; side <= 2; ++side) {
    const char* name = side == 1 ? "min" : "max";
    if (n.opset() < 11) {
      if (n.has_attribute(name)) bounds[name] = n.real(name, 0);
    } else if (n.has(side)) {
      const auto bound = n.scalar(side);
      if (bound && !n.is_integer(0)) bounds[name] = *bound;
      if (!bound || n.is_integer(0)) x = n.add(name, side == 1 ? "Max" : "Min", {x, n.value(side)});
    }
  }
  if (!bounds.empty()) {
    bounds["kind"] = std::string("clip");
    return n.give("Activation", {x}, std::move(bounds));
  }
  if (x == n.value(0)) return n.alias();
  n.give_value(x);
}

void prelu(NodeImport& n) {
  const StoredPtr slope = n.stored(1);
  if (!slope) NodeImport::not_understood("its slope is not a tensor of the file");
  if (slope->shape.size() > n.rank(0)) NodeImport::not_understood("its slope has more dims than the input");
  Node node{"PRelu", "", {n.value(0)}, {}, {}, {}};
  node.params["slope"] = n.parameter(slope);
  n.give(std::move(node));
}

// All floating types are one here; a cast between integers changes nothing that the graph computes with.
void cast_to(NodeImport& n, OnnxDataType to) {
  const OnnxDataType from = n.type(0);
  const OnnxTypeInfo* info = onnx_type_info(to);
  if (!info || !info->dtype) NodeImport::not_understood("it makes " + describe_onnx_type(to));
  const bool known = from != OnnxDataType::kUndefined, to_bool = to == OnnxDataType::kBool;
  const bool same_kind = known && is_real(from) == is_real(to) && (from == OnnxDataType::kBool) == to_bool;
  n.set_type(to);
  if (same_kind) return n.give_value(n.value(0));
  n.give("Cast", {n.value(0)}, {{"to", std::string(to_bool ? "bool" : is_real(to) ? "float" : "int64")}});
}

void cast(NodeImport& n) { cast_to(n, static_cast<OnnxDataType>(n.integer("to", 0))); }

void identity(NodeImport& n) { n.alias(); }

void dropout(NodeImport& n) {
  if (n.has(2) && n.scalar(2).value_or(1) != 0) NodeImport::not_understood("it is in training mode");
  n.alias();
}

const RegisterOnnxImport registered[] = {
    {"Relu", plain},
    {"Sigmoid", plain},
    {"Tanh", plain},
    {"Softplus", plain},
    {"Softsign", plain},
    {"Erf", plain},
    {"HardSwish", plain},
    {"Mish", plain},
    {"Exp", plain},
    {"Log", plain},
    {"Sqrt", plain},
    {"Reciprocal", plain},
    {"Neg", plain},
    {"Abs", plain},
    {"Sign", plain},
    {"Floor", plain},
    {"Ceil", plain},
    {"Round", plain},
    {"Sin", plain},
    {"Cos", plain},
    {"Not", plain},
    {"LeakyRelu", leaky_relu},
    {"Elu", elu},
    {"Celu", celu},
    {"HardSigmoid", hard_sigmoid},
    {"Selu", selu},
    {"Gelu", gelu},
    {"Clip", clip},
    {"PRelu", prelu},
    {"Cast", cast},
    {"Identity", identity},
    {"Dropout", dropout},
    {"Gelu", gelu, "com.microsoft"},
    {"FastGelu", fast_gelu, "com.microsoft"},
    {"QuickGelu", quick_gelu, "com.microsoft"},
};

}  // namespace
}  // namespace espalier::ops_activation
