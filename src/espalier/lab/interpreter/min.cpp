#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::min_kernel {
namespace {
const RegisterKernel registered("Min", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::minimum(c.inputs[0], c.inputs[1])};
});
}  // namespace
}  // namespace espalier::min_kernel
