#include "espalier/lab/interpreter/reductions.h"

namespace espalier::reduce_max_kernel {
namespace {
const RegisterKernel registered("ReduceMax", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::amax(c.inputs[0], reduction_axes(c), keeps_dims(c))};
});
}  // namespace
}  // namespace espalier::reduce_max_kernel
