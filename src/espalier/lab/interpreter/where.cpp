#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::where_kernel {
namespace {
const RegisterKernel registered("Where", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::where(c.inputs[0].to(at::kBool), c.inputs[1], c.inputs[2])};
});
}  // namespace
}  // namespace espalier::where_kernel
