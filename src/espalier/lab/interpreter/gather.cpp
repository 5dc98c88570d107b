#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::gather_kernel {
namespace {
const RegisterKernel registered("Gather", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const at::Tensor& x = c.inputs[0];
  const int64_t axis = c.node.integer("axis");
  std::vector<int64_t> indices = c.node.integers("indices");
  for (int64_t& index : indices) index += index < 0 ? x.size(axis) : 0;
  const at::Tensor picked = at::index_select(x, axis, at::tensor(indices, at::kLong));
  return {c.node.flag_or("scalar", false) ? picked.squeeze(axis) : picked};
});
}  // namespace
}  // namespace espalier::gather_kernel
