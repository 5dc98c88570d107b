#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::concat_kernel {
namespace {
const RegisterKernel registered("Concat", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::cat(c.inputs, c.node.integer("axis"))};
});
}  // namespace
}  // namespace espalier::concat_kernel
