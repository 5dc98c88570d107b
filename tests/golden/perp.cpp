#include "espalier/lab/repair/low_rank.h"
#include "espalier/lab/repair/perp.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::perp_cases {
namespace {

at::Tensor doubles(const Case& c, const char* name) { return c.input(name).to(at::kDouble); }
at::Tensor leaf(const Case& c, const char* name) { return doubles(c, name).clone().set_requires_grad(true); }

LowRank adapter_of(const Case& c, LowRankForm form) {
  const double scale = form == LowRankForm::kScaleLora ? 1 : c.number("alpha") / c.number("rank");
  return {form, doubles(c, "W"), c.input("mask"), leaf(c, "A"), leaf(c, "B"), scale};
}

Tensors gradients(const Case& c, LowRankForm form) {
  at::AutoGradMode with_gradients(true);
  const LowRank adapter = adapter_of(c, form);
  const at::Tensor y = at::linear(doubles(c, "x"), trained_weight(adapter));
  y.backward(doubles(c, "grad_y"));
  return {{"y", y.detach()}, {"grad_A", adapter.a.grad()}, {"grad_B", adapter.b.grad()}, {"merged", merged_weight(adapter)}, {"init_entry", scalar(scale_lora_start(c.integer("rank")))}};
}

Tensors mask_lora(const Case& c) { return gradients(c, LowRankForm::kMaskLora); }
Tensors scale_lora(const Case& c) { return gradients(c, LowRankForm::kScaleLora); }

Tensors lora_prune(const Case& c) {
  at::NoGradGuard no_gradients;
  const LowRank adapter = adapter_of(c, LowRankForm::kLoraPrune);
  const at::Tensor x = doubles(c, "x"), merged = merged_weight(adapter);
  const at::Tensor trained = at::linear(x, trained_weight(adapter)), after = at::linear(x, merged);
  return {{"y_train", trained}, {"merged", merged}, {"y_merged", after}, {"merge_gap", scalar((trained - after).abs().max().item<double>())}};
}

Tensors kept_zero(const Case& c) { return {{"merged", merged_weight(adapter_of(c, LowRankForm::kMaskLora))}}; }

Tensors reconstruction(const Case& c) {
  at::AutoGradMode with_gradients(true);
  const at::Tensor w = leaf(c, "W"), bias = leaf(c, "bias");
  const at::Tensor loss = reconstruction_error(at::linear(doubles(c, "x"), w, bias), doubles(c, "target"));
  loss.backward();
  const PerpCounts n = decoder_counts(c.integer("layers"), c.integer("hidden"), c.integer("ffn"), c.integer("vocab"), c.integer("rank"));
  return {{"loss", loss.detach().view({1})},
          {"grad_bias", bias.grad()},
          {"grad_W_masked", w.grad() * (w.detach() != 0)},
          {"n_bias", scalar(n.bias)},
          {"n_ln", scalar(n.norm)},
          {"n_lora", scalar(n.lora)},
          {"n_head_lora", scalar(n.head)},
          {"n_total_tied", scalar(n.total)}};
}

const Register kRegister("23-perp", {{"mask_lora", mask_lora},
                                     {"scale_lora", scale_lora},
                                     {"lora_prune", lora_prune},
                                     {"kept_zero_weight_explicit_mask", kept_zero},
                                     {"reconstruction_and_counts", reconstruction}});

}  // namespace
}  // namespace espalier::golden::perp_cases
