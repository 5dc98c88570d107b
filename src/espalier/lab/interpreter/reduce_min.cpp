#include "espalier/lab/interpreter/reductions.h"

namespace espalier::reduce_min_kernel {
namespace {
const RegisterKernel registered("ReduceMin", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::amin(c.inputs[0], reduction_axes(c), keeps_dims(c))};
});
}  // namespace
}  // namespace espalier::reduce_min_kernel
