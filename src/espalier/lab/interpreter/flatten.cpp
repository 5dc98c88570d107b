#include <algorithm>

#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::flatten_kernel {
namespace {
const RegisterKernel registered("Flatten", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const at::Tensor& x = c.inputs[0];
  const int64_t given = c.node.integer_or("axis", 1), axis = given < 0 ? given + x.dim() : given;
  int64_t rows = 1;
  for (int64_t d = 0; d < axis; ++d) rows *= x.size(d);
  return {x.reshape({rows, x.numel() / std::max<int64_t>(1, rows)})};
});
}  // namespace
}  // namespace espalier::flatten_kernel
