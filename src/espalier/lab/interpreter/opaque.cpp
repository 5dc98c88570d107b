#include "espalier/core/error.h"
#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::opaque_kernel {
namespace {
const RegisterKernel registered("Opaque", [](const KernelContext& c) -> std::vector<at::Tensor> {
  user_error("{}: the operator {} cannot be run: espalier does not know it", c.node.name,
             printable(c.node.text_or("op_type", "Opaque")));
});
}  // namespace
}  // namespace espalier::opaque_kernel
