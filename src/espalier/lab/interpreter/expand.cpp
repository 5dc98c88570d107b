#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::expand_kernel {
namespace {
const RegisterKernel registered("Expand", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const at::Tensor& x = c.inputs[0];
  std::vector<int64_t> shape = c.node.integers("shape");
  if (static_cast<int64_t>(shape.size()) < x.dim()) shape.insert(shape.begin(), x.dim() - shape.size(), 1);
  for (int64_t d = 1; d <= x.dim(); ++d)
    if (int64_t& size = shape[shape.size() - d]; size == 1) size = x.size(-d);
  if (c.inputs.size() > 1) shape[0] = c.inputs[1].size(0);
  return {x.expand(shape)};
});
}  // namespace
}  // namespace espalier::expand_kernel
