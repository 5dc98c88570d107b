#include "espalier/core/error.h"
#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {
const RegisterKernel registered("Activation", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const std::string kind = c.node.text("kind");
  const at::Tensor& x = c.inputs[0];
  if (kind == "silu") return {at::silu(x)};
  if (kind == "gelu") return {at::gelu(x)};
  if (kind == "gelu_tanh") return {at::gelu(x, "tanh")};
  if (kind == "quick_gelu") return {x * at::sigmoid(1.702 * x)};
  ESP_ASSERT(kind == "relu", "activation {}", kind);
  return {at::relu(x)};
});
}  // namespace
}  // namespace espalier
