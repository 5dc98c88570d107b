#include "espalier/core/error.h"
#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::batch_norm_kernel {
namespace {

// The variance of the batch enters the output with n, the running one with n - 1 in the denominator, as in PyTorch.
at::Tensor by_batch_statistics(const KernelContext& c, const at::Tensor& mean, const at::Tensor& var) {
  const at::Tensor& x = c.inputs[0];
  if (x.numel() <= x.size(1))
    throw UserError(c.node.name, "values a channel", "at least 2 to take statistics of",
                    fmt::format("{}", x.numel() / std::max<int64_t>(1, x.size(1))));
  return std::get<0>(at::native_batch_norm(x, c.optional_param("weight"), c.optional_param("bias"), mean, var, true,
                                           *c.batch_momentum, c.node.real("epsilon")));
}

// The definition, differentiable in the statistics too.
at::Tensor by_definition(const KernelContext& c, const at::Tensor& mean, const at::Tensor& var) {
  const at::Tensor& x = c.inputs[0];
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[1] = -1;
  at::Tensor y = mean.defined() ? x - mean.view(shape) : x;
  at::Tensor scale = at::rsqrt((var.defined() ? var.view(shape) : at::ones({1}, x.options())) + c.node.real("epsilon"));
  if (c.node.has_param("weight")) scale = scale * c.param("weight").view(shape);
  y = y * scale;
  return c.node.has_param("bias") ? y + c.param("bias").view(shape) : y;
}

const RegisterKernel registered("BatchNorm", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const at::Tensor mean = c.optional_param("mean"), var = c.optional_param("var");
  if (c.batch_momentum) return {by_batch_statistics(c, mean, var)};
  const bool wants_gradients = at::GradMode::is_enabled() &&
                               ((mean.defined() && mean.requires_grad()) || (var.defined() && var.requires_grad()));
  if (!mean.defined() || !var.defined() || wants_gradients) return {by_definition(c, mean, var)};
  return {at::batch_norm(c.inputs[0], c.optional_param("weight"), c.optional_param("bias"), mean, var, false, 0,
                         c.node.real("epsilon"), false)};
});

}  // namespace
}  // namespace espalier::batch_norm_kernel
