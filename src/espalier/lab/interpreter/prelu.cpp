#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::prelu_kernel {
namespace {
const RegisterKernel registered("PRelu", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const at::Tensor& x = c.inputs[0];
  return {at::where(x > 0, x, x * c.param("slope"))};
});
}  // namespace
}  // namespace espalier::prelu_kernel
