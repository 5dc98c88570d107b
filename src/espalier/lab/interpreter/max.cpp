#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::max_kernel {
namespace {
const RegisterKernel registered("Max", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::maximum(c.inputs[0], c.inputs[1])};
});
}  // namespace
}  // namespace espalier::max_kernel
