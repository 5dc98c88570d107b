#include "espalier/lab/interpreter/reductions.h"

namespace espalier::arg_max_kernel {
namespace {
const RegisterKernel registered("ArgMax", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::argmax(c.inputs[0], reduction_axes(c)[0], keeps_dims(c))};
});
}  // namespace
}  // namespace espalier::arg_max_kernel
