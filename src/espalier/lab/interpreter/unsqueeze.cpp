#include <algorithm>

#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::unsqueeze_kernel {
namespace {
const RegisterKernel registered("Unsqueeze", [](const KernelContext& c) -> std::vector<at::Tensor> {
  std::vector<int64_t> axes = c.node.integers("axes"), shape = c.inputs[0].sizes().vec();
  const auto rank = c.inputs[0].dim() + std::ssize(axes);
  for (int64_t& axis : axes) axis += axis < 0 ? rank : 0;
  std::sort(axes.begin(), axes.end());
  for (int64_t axis : axes) shape.insert(shape.begin() + axis, 1);
  return {c.inputs[0].reshape(shape)};
});
}  // namespace
}  // namespace espalier::unsqueeze_kernel
