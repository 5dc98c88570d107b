#include "espalier/lab/interpreter/reductions.h"

namespace espalier::reduce_sum_kernel {
namespace {
const RegisterKernel registered("ReduceSum", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::sum(c.inputs[0], reduction_axes(c), keeps_dims(c))};
});
}  // namespace
}  // namespace espalier::reduce_sum_kernel
