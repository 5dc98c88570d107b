#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::transpose_kernel {
namespace {
const RegisterKernel registered("Transpose", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {c.inputs[0].permute(c.node.integers("perm"))};
});
}  // namespace
}  // namespace espalier::transpose_kernel
