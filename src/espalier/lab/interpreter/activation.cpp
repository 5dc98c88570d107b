#include <limits>
#include <map>

#include "espalier/core/error.h"
#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::activation_kernel {
namespace {

using Function = at::Tensor (*)(const at::Tensor& x, const Node& node);

// One entry a name of graph/ops/activation_kinds.h.
const std::map<std::string, Function>& functions() {
  static const std::map<std::string, Function> table = {
      {"silu", [](auto& x, auto&) { return at::silu(x); }},
      {"gelu", [](auto& x, auto&) { return at::gelu(x); }},
      {"gelu_tanh", [](auto& x, auto&) { return at::gelu(x, "tanh"); }},
      {"quick_gelu", [](auto& x, auto&) { return x * at::sigmoid(1.702 * x); }},
      {"relu", [](auto& x, auto&) { return at::relu(x); }},
      {"leaky_relu", [](auto& x, auto& n) { return at::leaky_relu(x, n.real_or("alpha", 0.01)); }},
      {"elu", [](auto& x, auto& n) { return at::elu(x, n.real_or("alpha", 1)); }},
      {"selu", [](auto& x, auto&) { return at::selu(x); }},
      {"celu", [](auto& x, auto& n) { return at::celu(x, n.real_or("alpha", 1)); }},
      {"clip",
       [](auto& x, auto& n) {
         const double none = std::numeric_limits<double>::infinity();
         return at::clamp(x, n.real_or("min", -none), n.real_or("max", none));
       }},
      {"sigmoid", [](auto& x, auto&) { return at::sigmoid(x); }},
      {"hardsigmoid",
       [](auto& x, auto& n) { return at::clamp(x * n.real_or("alpha", 0.2) + n.real_or("beta", 0.5), 0, 1); }},
      {"hardswish", [](auto& x, auto&) { return at::hardswish(x); }},
      {"tanh", [](auto& x, auto&) { return at::tanh(x); }},
      {"softplus", [](auto& x, auto&) { return at::softplus(x); }},
      {"softsign", [](auto& x, auto&) { return x / (1 + at::abs(x)); }},
      {"mish", [](auto& x, auto&) { return at::mish(x); }},
      {"erf", [](auto& x, auto&) { return at::erf(x); }},
      {"sqrt", [](auto& x, auto&) { return at::sqrt(x); }},
      {"reciprocal", [](auto& x, auto&) { return at::reciprocal(x); }},
      {"exp", [](auto& x, auto&) { return at::exp(x); }},
      {"log", [](auto& x, auto&) { return at::log(x); }},
      {"neg", [](auto& x, auto&) { return at::neg(x); }},
      {"abs", [](auto& x, auto&) { return at::abs(x); }},
      {"sign", [](auto& x, auto&) { return at::sign(x); }},
      {"floor", [](auto& x, auto&) { return at::floor(x); }},
      {"ceil", [](auto& x, auto&) { return at::ceil(x); }},
      {"round", [](auto& x, auto&) { return at::round(x); }},
      {"sin", [](auto& x, auto&) { return at::sin(x); }},
      {"cos", [](auto& x, auto&) { return at::cos(x); }},
      {"not", [](auto& x, auto&) { return at::logical_not(x); }},
  };
  return table;
}

const RegisterKernel registered("Activation", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const std::string kind = c.node.text("kind");
  const auto found = functions().find(kind);
  ESP_ASSERT(found != functions().end(), "activation {}", kind);
  return {found->second(c.inputs[0], c.node)};
});

}  // namespace
}  // namespace espalier::activation_kernel
