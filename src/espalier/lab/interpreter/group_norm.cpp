#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::group_norm_kernel {
namespace {

// [n, C, …] → [n, groups, C / groups, …], and a parameter [C] beside it.
at::Tensor grouped(const at::Tensor& channels, int64_t groups, int64_t rank) {
  std::vector<int64_t> shape(static_cast<size_t>(rank + 1), 1);
  shape[1] = groups;
  shape[2] = channels.numel() / groups;
  return channels.view(shape);
}

// The statistics of a masked norm run over the channels that remain, as they will after the cut.
at::Tensor masked(const KernelContext& c, int64_t groups) {
  const at::Tensor x = c.inputs[0].unflatten(1, {groups, -1}),
                   mask = grouped(c.param("mask"), groups, c.inputs[0].dim());
  std::vector<int64_t> axes;
  int64_t positions = 1;
  for (int64_t d = 2; d < x.dim(); ++d) axes.push_back(d);
  for (int64_t d = 3; d < x.dim(); ++d) positions *= x.size(d);
  const at::Tensor count = mask.sum(axes, true) * positions;
  const at::Tensor centred = (x - (x * mask).sum(axes, true) / count) * mask;
  const at::Tensor variance = centred.square().sum(axes, true) / count;
  at::Tensor y = centred * at::rsqrt(variance + c.node.real("epsilon"));
  if (c.node.has_param("weight")) y = y * grouped(c.param("weight"), groups, c.inputs[0].dim());
  if (c.node.has_param("bias")) y = (y + grouped(c.param("bias"), groups, c.inputs[0].dim())) * mask;
  return y.flatten(1, 2);
}

const RegisterKernel registered("GroupNorm", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const int64_t groups = c.node.integer("num_groups");
  if (c.node.has_param("mask")) return {masked(c, groups)};
  return {at::group_norm(c.inputs[0], groups, c.optional_param("weight"), c.optional_param("bias"),
                         c.node.real("epsilon"), /*cudnn_enabled=*/false)};
});

}  // namespace
}  // namespace espalier::group_norm_kernel
