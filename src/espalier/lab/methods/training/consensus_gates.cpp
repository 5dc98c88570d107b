#include "espalier/lab/methods/training/consensus_gates.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "espalier/lab/torch.h"

namespace espalier {
namespace {

class HardGate : public torch::autograd::Function<HardGate> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& logits) {
    context->save_for_backward({logits});
    return (logits.sigmoid() > 0.5).to(logits.scalar_type());
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    constexpr double kClip = 8;
    const at::Tensor s = context->get_saved_variables()[0].clamp(-kClip, kClip).sigmoid();
    return {gradients[0] * s * (1 - s)};
  }
};

at::Tensor normal_leaf(int64_t rows, int64_t inputs, Rng& rng) {
  at::Tensor leaf = at::empty({rows, inputs}, at::kFloat);
  const double deviation = std::sqrt(2.0 / static_cast<double>(inputs));
  for (int64_t i = 0; i < leaf.numel(); ++i) leaf.data_ptr<float>()[i] = static_cast<float>(deviation * rng.normal());
  return leaf.set_requires_grad(true);
}

}  // namespace

GateModule make_gates(int64_t channels, int64_t gates, int64_t hidden, Rng rng) {
  if (hidden == 0) hidden = std::max<int64_t>(4, channels / 4);
  GateModule module;
  module.w1 = normal_leaf(hidden, channels, rng);
  module.b1 = at::zeros({hidden}, at::kFloat).set_requires_grad(true);
  module.w2 = normal_leaf(gates, hidden, rng);
  module.b2 = at::full({gates}, 2.0, at::kFloat).set_requires_grad(true);
  return module;
}

at::Tensor pooled_input(const at::Tensor& x) {
  if (x.dim() == 3) return x.mean(1);
  return x.dim() > 3 ? x.flatten(2).mean(2) : x;
}

at::Tensor gate_logits(const GateModule& module, const at::Tensor& pooled) {
  return at::linear(at::linear(pooled, module.w1, module.b1).relu(), module.w2, module.b2);
}

at::Tensor hard_gates(const at::Tensor& logits) { return HardGate::apply(logits); }

at::Tensor gated(const at::Tensor& x, const at::Tensor& gates) {
  std::vector<int64_t> shape = gates.sizes().vec();
  shape.resize(static_cast<size_t>(x.dim()), 1);
  return x * gates.view(shape);
}

GatePenalties gate_penalties(const at::Tensor& gates, const at::Tensor& cost, const GateWeights& weights) {
  GatePenalties p;
  p.mean = gates.mean(0);
  p.polar = (p.mean * (1 - p.mean)).mean();
  p.activity = p.mean.mean();
  p.cost_share = (p.mean * cost).sum() / cost.sum();
  p.budget = (p.cost_share - weights.target).square();
  p.total = weights.polar * p.polar + weights.activity * p.activity + weights.budget * p.budget;
  return p;
}

GateChoice choose_by_gates(const at::Tensor& mean, double threshold) {
  return {mean > threshold, at::maximum(mean, 1 - mean).mean().item<double>(), (mean * (1 - mean)).mean().item<double>()};
}

}  // namespace espalier
