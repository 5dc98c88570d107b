#include "espalier/lab/interpreter/reductions.h"

namespace espalier::reduce_mean_kernel {
namespace {
const RegisterKernel registered("ReduceMean", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::mean(c.inputs[0], reduction_axes(c), keeps_dims(c))};
});
}  // namespace
}  // namespace espalier::reduce_mean_kernel
