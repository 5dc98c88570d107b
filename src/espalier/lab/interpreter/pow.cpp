#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::pow_kernel {
namespace {
const RegisterKernel registered("Pow", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::pow(c.inputs[0], c.inputs[1])};
});
}  // namespace
}  // namespace espalier::pow_kernel
