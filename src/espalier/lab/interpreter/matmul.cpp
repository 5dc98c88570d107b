#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::matmul_kernel {
namespace {
const RegisterKernel registered("MatMul", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::matmul(c.inputs[0], c.inputs[1])};
});
}  // namespace
}  // namespace espalier::matmul_kernel
