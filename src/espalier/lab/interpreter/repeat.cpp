#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::repeat_kernel {
namespace {
const RegisterKernel registered("Repeat", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::repeat_interleave(c.inputs[0], c.node.integer("repeats"), c.node.integer("axis"))};
});
}  // namespace
}  // namespace espalier::repeat_kernel
