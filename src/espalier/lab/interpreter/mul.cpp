#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::mul_kernel {
namespace {
const RegisterKernel registered("Mul", [](const KernelContext& c) -> std::vector<at::Tensor> { return {c.inputs[0] * c.inputs[1]}; });
}  // namespace
}  // namespace espalier::mul_kernel
