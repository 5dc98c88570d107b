#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {
const RegisterKernel registered("Constant",
                                [](const KernelContext& c) -> std::vector<at::Tensor> { return {c.param("value")}; });
}  // namespace
}  // namespace espalier
