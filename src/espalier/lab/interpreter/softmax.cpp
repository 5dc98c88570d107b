#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::softmax_kernel {
namespace {
const RegisterKernel registered("Softmax", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::softmax(c.inputs[0], c.node.integer_or("axis", -1))};
});
}  // namespace
}  // namespace espalier::softmax_kernel
