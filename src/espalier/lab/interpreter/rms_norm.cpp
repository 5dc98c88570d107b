#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::rms_norm_kernel {
namespace {

at::Tensor normalised(const at::Tensor& x, double epsilon) {
  return x * at::rsqrt(x.square().mean(-1, true) + epsilon);
}

const RegisterKernel registered("RMSNorm", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const at::Tensor& x = c.inputs[0];
  const double epsilon = c.node.real("epsilon");
  const int64_t head_size = c.node.integer_or("head_size", 0);
  at::Tensor y;
  if (head_size > 0) {
    return {(normalised(x.unflatten(-1, {-1, head_size}), epsilon) * c.param("weight")).flatten(-2)};
  } else if (c.node.has_param("mask")) {
    const at::Tensor mask = c.param("mask"), kept = x * mask;
    y = kept * at::rsqrt(kept.square().sum(-1, true) / mask.sum() + epsilon);
  } else {
    y = normalised(x, epsilon);
  }
  const at::Tensor weight = c.optional_param("weight");
  return {weight.defined() ? y * weight : y};
});

}  // namespace
}  // namespace espalier::rms_norm_kernel
