#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::layer_norm_kernel {
namespace {

// The statistics of a masked norm run over the channels that remain, as they will after the cut.
at::Tensor masked(const at::Tensor& x, const at::Tensor& mask, double epsilon) {
  const at::Tensor count = mask.sum();
  const at::Tensor centred = (x - (x * mask).sum(-1, true) / count) * mask;
  return centred * at::rsqrt(centred.square().sum(-1, true) / count + epsilon);
}

const RegisterKernel registered("LayerNorm", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const double epsilon = c.node.real("epsilon");
  const at::Tensor weight = c.optional_param("weight"), bias = c.optional_param("bias");
  if (const int64_t head_size = c.node.integer_or("head_size", 0); head_size > 0)
    return {at::layer_norm(c.inputs[0].unflatten(-1, {-1, head_size}), {head_size}, weight, bias, epsilon).flatten(-2)};
  if (!c.node.has_param("mask")) return {at::layer_norm(c.inputs[0], {c.inputs[0].size(-1)}, weight, bias, epsilon)};
  at::Tensor y = masked(c.inputs[0], c.param("mask"), epsilon);
  if (weight.defined()) y = y * weight;
  if (bias.defined()) y = (y + bias) * c.param("mask");
  return {y};
});

}  // namespace
}  // namespace espalier::layer_norm_kernel
