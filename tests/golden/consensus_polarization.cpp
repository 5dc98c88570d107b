#include "espalier/lab/methods/training/consensus_gates.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::consensus_polarization_cases {
namespace {

at::Tensor doubles(const Case& c, const char* name) { return c.input(name).to(at::kDouble); }

Tensors forward(const Case& c) {
  const GateModule module{doubles(c, "W1"), doubles(c, "b1"), doubles(c, "W2"), doubles(c, "b2")};
  const at::Tensor pooled = pooled_input(doubles(c, "x")), logits = gate_logits(module, pooled);
  return {{"pooled", pooled}, {"logits", logits}, {"soft", logits.sigmoid()}, {"hard", hard_gates(logits)}};
}

// The gradient reaches the logits through the hard gates, as in training.
Tensors regularisers(const Case& c) {
  at::AutoGradMode with_gradients(true);
  const at::Tensor logits = doubles(c, "logits").clone().set_requires_grad(true);
  const GateWeights weights{c.number("lambda_polar"), c.number("lambda_act"), c.number("lambda_budget"), c.number("target")};
  const GatePenalties p = gate_penalties(hard_gates(logits), doubles(c, "cost"), weights);
  p.total.backward();
  const auto one = [](const at::Tensor& value) { return value.detach().view({1}); };
  return {{"mean_gate", p.mean.detach()},   {"polar", one(p.polar)},   {"act", one(p.activity)},       {"cost_share", one(p.cost_share)},
          {"budget", one(p.budget)},        {"total", one(p.total)},   {"grad_logits", logits.grad()}};
}

Tensors selection(const Case& c) {
  const GateChoice choice = choose_by_gates(doubles(c, "mean_gate"), c.number_or("threshold", 0.5));
  return {{"kept", choice.kept}, {"consensus", scalar(choice.consensus)}, {"polar", scalar(choice.polar)}};
}

Tensors agreement(const Case& c) {
  const at::Tensor hard = doubles(c, "hard");
  const GatePenalties p = gate_penalties(hard, at::ones({hard.size(1)}, at::kDouble), {});
  return {{"polar", p.polar.view({1})}, {"mean_gate", p.mean}};
}

Tensors apply(const Case& c) {
  const at::Tensor features = doubles(c, "features");
  return {{"channel_gated", gated(features, doubles(c, "channel_gate"))},
          {"block_output", doubles(c, "residual") + gated(features, doubles(c, "layer_gate"))}};
}

Tensors straight_through(const Case& c) {
  at::AutoGradMode with_gradients(true);
  const at::Tensor logits = doubles(c, "logits").clone().set_requires_grad(true);
  hard_gates(logits).backward(doubles(c, "grad_hard"));
  return {{"grad_logits", logits.grad()}};
}

const Register kRegister("25-consensus-polarization", {{"gate_forward", forward},
                                                       {"regularisers", regularisers},
                                                       {"with_budget", regularisers},
                                                       {"final_selection", selection},
                                                       {"full_consensus", agreement},
                                                       {"single_sample_batch", agreement},
                                                       {"apply_channel_and_layer", apply},
                                                       {"straight_through", straight_through}});

}  // namespace
}  // namespace espalier::golden::consensus_polarization_cases
