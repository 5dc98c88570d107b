#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// The statistics of a masked norm run over the channels that remain, as they will after the cut.
at::Tensor masked(const at::Tensor& x, const at::Tensor& mask, double epsilon) {
  const at::Tensor count = mask.sum();
  const at::Tensor centred = (x - (x * mask).sum(-1, true) / count) * mask;
  return centred * at::rsqrt(centred.square().sum(-1, true) / count + epsilon);
}

const RegisterKernel registered("LayerNorm", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const double epsilon = c.node.real("epsilon");
  const auto weight = c.optional_param("weight"), bias = c.optional_param("bias");
  if (!c.node.has_param("mask")) return {at::layer_norm(c.inputs[0], {c.inputs[0].size(-1)}, weight, bias, epsilon)};
  at::Tensor y = masked(c.inputs[0], c.param("mask"), epsilon);
  if (weight) y = y * *weight;
  if (bias) y = (y + *bias) * c.param("mask");
  return {y};
});

}  // namespace
}  // namespace espalier
