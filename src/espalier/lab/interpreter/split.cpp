#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::split_kernel {
namespace {
const RegisterKernel registered("Split", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return at::split_with_sizes(c.inputs[0], c.node.integers("sizes"), c.node.integer_or("axis", -1));
});
}  // namespace
}  // namespace espalier::split_kernel
