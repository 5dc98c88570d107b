#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::reshape_kernel {
namespace {
const RegisterKernel registered("Reshape", [](const KernelContext& c) -> std::vector<at::Tensor> {
  std::vector<int64_t> shape = c.node.integers("shape");
  for (size_t d = 0; d < shape.size(); ++d)
    if (shape[d] == 0 && static_cast<int64_t>(d) < c.inputs[0].dim()) shape[d] = c.inputs[0].size(d);
  return {c.inputs[0].reshape(shape)};
});
}  // namespace
}  // namespace espalier::reshape_kernel
