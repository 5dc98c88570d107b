#include "espalier/graph/ops/slice_indices.h"
#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::slice_kernel {
namespace {
const RegisterKernel registered("Slice", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const auto &axes = c.node.integers("axes"), &starts = c.node.integers("starts"), &ends = c.node.integers("ends");
  const auto steps = c.node.integers_or("steps", std::vector<int64_t>(axes.size(), 1));
  at::Tensor x = c.inputs[0];
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto indices = slice_indices(x.size(axes[i]), starts[i], ends[i], steps[i]);
    if (steps[i] == 1 && !indices.empty()) {
      x = x.narrow(axes[i], indices.front(), std::ssize(indices));
    } else {
      x = at::index_select(x, axes[i], at::tensor(indices, at::kLong));
    }
  }
  return {x};
});
}  // namespace
}  // namespace espalier::slice_kernel
