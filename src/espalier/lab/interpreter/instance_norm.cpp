#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::instance_norm_kernel {
namespace {
const RegisterKernel registered("InstanceNorm", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const at::Tensor& x = c.inputs[0];
  return {at::instance_norm(x, c.optional_param("weight"), c.optional_param("bias"), {}, {}, /*use_input_stats=*/true,
                            /*momentum=*/0, c.node.real("epsilon"), /*cudnn_enabled=*/false)};
});
}  // namespace
}  // namespace espalier::instance_norm_kernel
