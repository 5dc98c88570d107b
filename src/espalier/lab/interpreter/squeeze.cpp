#include <algorithm>

#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::squeeze_kernel {
namespace {
const RegisterKernel registered("Squeeze", [](const KernelContext& c) -> std::vector<at::Tensor> {
  std::vector<int64_t> axes = c.node.integers("axes"), shape = c.inputs[0].sizes().vec();
  for (int64_t& axis : axes) axis += axis < 0 ? c.inputs[0].dim() : 0;
  std::sort(axes.rbegin(), axes.rend());
  for (int64_t axis : axes) shape.erase(shape.begin() + axis);
  return {c.inputs[0].reshape(shape)};
});
}  // namespace
}  // namespace espalier::squeeze_kernel
