#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::linear_kernel {
namespace {
const RegisterKernel registered("Linear", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const at::Tensor weight = c.param("weight");
  return {at::linear(c.inputs[0], c.node.flag_or("transposed", false) ? weight.t() : weight, c.optional_param("bias"))};
});
}  // namespace
}  // namespace espalier::linear_kernel
