#include <limits>

#include "espalier/lab/interpreter/pooling.h"

namespace espalier::max_pool_kernel {
namespace {
const RegisterKernel registered("MaxPool", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const Pooling pool(c);
  const at::Tensor padded = pad_spatial(pool.x, pool.all_pads(), -std::numeric_limits<double>::infinity());
  return {pool.restored(at::max_pool2d(padded, pool.kernel, pool.strides, {0, 0}, pool.dilations))};
});
}  // namespace
}  // namespace espalier::max_pool_kernel
