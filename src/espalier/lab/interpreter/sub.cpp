#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::sub_kernel {
namespace {
const RegisterKernel registered("Sub", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {c.inputs[0] - c.inputs[1]};
});
}  // namespace
}  // namespace espalier::sub_kernel
