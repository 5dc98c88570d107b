// The functions that Activation knows, by the attribute `kind`.
#pragma once

#include <array>
#include <string_view>

namespace espalier {

inline constexpr std::array kActivationKinds = {
    "silu", "gelu",  "gelu_tanh", "quick_gelu",  "relu",      "leaky_relu", "elu",      "selu",
    "celu", "clip",  "sigmoid",   "hardsigmoid", "hardswish", "tanh",       "softplus", "softsign",
    "mish", "erf",   "sqrt",      "reciprocal",  "exp",       "log",        "neg",      "abs",
    "sign", "floor", "ceil",      "round",       "sin",       "cos",        "not"};

constexpr bool is_activation_kind(std::string_view name) {
  for (std::string_view kind : kActivationKinds)
    if (kind == name) return true;
  return false;
}

}  // namespace espalier
