#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::gate_kernel {
namespace {
const RegisterKernel registered("Gate", [](const KernelContext& c) -> std::vector<at::Tensor> { return {c.inputs[0] * c.param("gate")}; });
}  // namespace
}  // namespace espalier::gate_kernel
