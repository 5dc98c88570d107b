#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::rotary_embedding_kernel {
namespace {

const RegisterKernel registered("RotaryEmbedding", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const auto& frequency = std::get<std::vector<double>>(c.node.attributes.at("inverse_frequency"));
  const int64_t head_size = c.node.integer("head_size"), half = static_cast<int64_t>(frequency.size());
  const at::Tensor x = c.inputs[0].unflatten(-1, {-1, head_size});  // [b, t, heads, head_size]
  const at::Tensor positions = at::arange(c.position, c.position + x.size(1), at::kFloat);
  // fp32 angles, as the models were trained with
  const at::Tensor angle = at::outer(positions, at::tensor(frequency, at::kFloat)).unsqueeze(1);  // [t, 1, half]
  const double scale = c.node.real("scale");
  const at::Tensor cosine = angle.cos() * scale, sine = angle.sin() * scale;
  const at::Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  std::vector<at::Tensor> parts = {a * cosine - b * sine, b * cosine + a * sine};
  if (2 * half < head_size) parts.push_back(x.narrow(-1, 2 * half, head_size - 2 * half));
  return {at::cat(parts, -1).flatten(-2)};
});

}  // namespace
}  // namespace espalier::rotary_embedding_kernel
