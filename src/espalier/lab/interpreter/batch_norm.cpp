#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {
const RegisterKernel registered("BatchNorm", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const at::Tensor& x = c.inputs[0];
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[1] = -1;
  auto channels = [&](const char* role) { return c.param(role).view(shape); };
  at::Tensor y = c.node.has_param("mean") ? x - channels("mean") : x;
  const double epsilon = c.node.real("epsilon");
  const at::Tensor var = c.node.has_param("var") ? channels("var") : at::ones({1}, x.options());
  at::Tensor scale = at::rsqrt(var + epsilon);
  if (c.node.has_param("weight")) scale = scale * channels("weight");
  y = y * scale;
  return {c.node.has_param("bias") ? y + channels("bias") : y};
});
}  // namespace
}  // namespace espalier
