#include "espalier/lab/interpreter/pooling.h"

namespace espalier::average_pool_kernel {
namespace {

// How many positions of each window count: those of the input, and of the padding when it is included, but never the
// overhang of ceil mode.
at::Tensor share_that_counts(const Pooling& pool, bool padding) {
  std::vector<int64_t> shape{1, 1, pool.x.size(2), pool.x.size(3)};
  const at::Tensor ones = at::ones(shape, pool.x.options().requires_grad(false));
  const at::Tensor counted =
      padding ? pad_spatial(pad_spatial(ones, pool.pads, 1), {0, 0, pool.overhang[0], pool.overhang[1]}, 0)
              : pad_spatial(ones, pool.all_pads(), 0);
  return at::avg_pool2d(counted, pool.kernel, pool.strides);
}

const RegisterKernel registered("AveragePool", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const Pooling pool(c);
  const at::Tensor mean = at::avg_pool2d(pad_spatial(pool.x, pool.all_pads(), 0), pool.kernel, pool.strides);
  return {pool.restored(mean / share_that_counts(pool, c.node.flag_or("count_include_pad", false)))};
});

}  // namespace
}  // namespace espalier::average_pool_kernel
