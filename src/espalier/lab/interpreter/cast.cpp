#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::cast_kernel {
namespace {
const RegisterKernel registered("Cast", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const std::string to = c.node.text("to");
  const at::Tensor& x = c.inputs[0];
  if (to == "int64") return {x.to(at::kLong)};
  if (to == "bool") return {x.to(at::kBool)};
  return {at::isFloatingType(x.scalar_type()) ? x : x.to(at::kFloat)};
});
}  // namespace
}  // namespace espalier::cast_kernel
