#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::constant_kernel {
namespace {
const RegisterKernel registered("Constant", [](const KernelContext& c) -> std::vector<at::Tensor> {
  if (c.node.has_param("value")) return {c.param("value")};
  const auto& values = std::get<std::vector<double>>(c.node.attributes.at("values"));
  return {at::tensor(values, at::kFloat).view(c.node.integers("shape"))};
});
}  // namespace
}  // namespace espalier::constant_kernel
