#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::global_average_pool_kernel {
namespace {
const RegisterKernel registered("GlobalAveragePool", [](const KernelContext& c) -> std::vector<at::Tensor> {
  std::vector<int64_t> axes;
  for (int64_t d = 2; d < c.inputs[0].dim(); ++d) axes.push_back(d);
  return {c.inputs[0].mean(axes, /*keepdim=*/true)};
});
}  // namespace
}  // namespace espalier::global_average_pool_kernel
