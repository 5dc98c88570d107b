#include "espalier/lab/repair/low_rank.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/choice.h"
#include "espalier/lab/repair/bool_mask.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, LowRankForm> kForms[] = {{"lora", LowRankForm::kLora},
                                                          {"lora_prune", LowRankForm::kLoraPrune},
                                                          {"mask_lora", LowRankForm::kMaskLora},
                                                          {"scale_lora", LowRankForm::kScaleLora}};

}  // namespace

LowRankForm low_rank_form(const std::string& where, const std::string& name) { return choice_from_name(where, name, kForms); }
std::string name_of(LowRankForm form) { return choice_name(form, kForms); }

double scale_lora_start(int64_t rank) { return 1 / std::sqrt(static_cast<double>(rank)); }

LowRank make_low_rank(LowRankForm form, const at::Tensor& base, const at::Tensor& keep, int64_t rank, double alpha, Rng rng) {
  const int64_t out = base.size(0), in = base.size(1), r = std::min({rank, out, in});
  LowRank adapter{form, base, keep, {}, {}, alpha / static_cast<double>(r)};
  if (form == LowRankForm::kScaleLora) {
    adapter.a = at::full({r, in}, scale_lora_start(r), at::kFloat);
    adapter.b = at::full({out, r}, scale_lora_start(r), at::kFloat);
  } else {
    adapter.a = at::empty({r, in}, at::kFloat);
    adapter.b = at::zeros({out, r}, at::kFloat);
    const double bound = 1 / std::sqrt(static_cast<double>(in));
    for (int64_t i = 0; i < adapter.a.numel(); ++i) adapter.a.data_ptr<float>()[i] = static_cast<float>(rng.uniform(-bound, bound));
  }
  adapter.a.set_requires_grad(true);
  adapter.b.set_requires_grad(true);
  return adapter;
}

// The product is made anew in every forward and not kept for the backward: autograd needs A, B, M and W alone.
at::Tensor trained_weight(const LowRank& adapter) {
  const at::Tensor product = at::matmul(adapter.b, adapter.a);
  switch (adapter.form) {
    case LowRankForm::kScaleLora: return masked(adapter.base, adapter.keep) * product;
    case LowRankForm::kMaskLora: return masked(adapter.base + adapter.scale * product, adapter.keep);
    case LowRankForm::kLora:
    case LowRankForm::kLoraPrune: return masked(adapter.base, adapter.keep) + adapter.scale * product;
  }
  bug(__FILE__, __LINE__, "an unknown form");
}

at::Tensor merged_weight(const LowRank& adapter) {
  at::NoGradGuard no_gradients;
  const at::Tensor weight = trained_weight(adapter);
  return adapter.form == LowRankForm::kLora ? weight : masked(weight, adapter.keep);
}

}  // namespace espalier
