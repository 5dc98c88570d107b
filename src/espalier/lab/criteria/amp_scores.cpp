#include "espalier/lab/criteria/amp_scores.h"

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr int64_t kTokensPerProduct = 512;  // bounds the [tokens, d] product of one head

void check_finite(const at::Tensor& scores, const std::string& name) {
  if (!at::isfinite(scores).all().item<bool>()) user_error("{}: the activations are not finite", name);
}

// sum over tokens and outputs of |x w^T|, x [T, dh], w [d, dh].
double total_contribution(const at::Tensor& x, const at::Tensor& w) {
  double total = 0;
  for (int64_t start = 0; start < x.size(0); start += kTokensPerProduct) {
    const auto rows = x.slice(0, start, start + kTokensPerProduct);
    total += at::mm(rows, w.t()).abs_().sum(1).sum(0, false, at::kDouble).item<double>();
  }
  return total;
}

}  // namespace

at::Tensor head_contributions(const at::Tensor& attention_out, const at::Tensor& o_weight, int64_t heads,
                              const std::string& name) {
  const int64_t width = o_weight.size(1);
  if (heads < 1 || width % heads) {
    throw UserError(name, "width of the output projection", fmt::format("a multiple of {} heads", heads),
                    fmt::format("{}", width));
  }
  const auto x = as_tokens(attention_out, width, name);
  const auto w = o_weight.detach().to(at::kFloat);
  const int64_t tokens = x.size(0), head_size = width / heads;
  if (tokens == 0) user_error("{}: a prompt without tokens", name);
  auto scores = at::empty({heads}, at::kDouble);
  for (int64_t h = 0; h < heads; ++h) {
    const auto part = [&](const at::Tensor& t) { return t.narrow(1, h * head_size, head_size); };
    scores[h] = total_contribution(part(x), part(w)) / static_cast<double>(tokens);
  }
  check_finite(scores, name);
  return scores;
}

at::Tensor neuron_activations(const at::Tensor& activations, const std::string& name) {
  const auto a = as_tokens(activations, activations.size(-1), name);
  if (a.size(0) == 0) user_error("{}: a prompt without tokens", name);
  const auto scores = a.abs().sum(0, false, at::kDouble).div_(static_cast<double>(a.size(0)));
  check_finite(scores, name);
  return scores;
}

void PromptMean::add(const at::Tensor& scores) {
  sum_ = prompts_ == 0 ? scores.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true) : sum_.add_(scores);
  ++prompts_;
}

at::Tensor PromptMean::mean() const {
  if (prompts_ == 0) user_error("{}: there are no prompts", name_);
  return sum_ / static_cast<double>(prompts_);
}

AmpBudget amp_budget(double p, int64_t heads, int64_t neurons) {
  ESP_ASSERT(p >= 0 && std::isfinite(p) && heads > 0 && neurons > 0, "p {}, heads {}, neurons {}", p, heads, neurons);
  const auto h = static_cast<double>(heads), f = static_cast<double>(neurons);
  const int64_t pruned_heads = std::min(round_half_even(p * h), heads - 1);
  const double neuron_share = (h / f) * (p - static_cast<double>(pruned_heads) / h) + p;
  const int64_t pruned_neurons = std::min(round_half_even(f * neuron_share), neurons - 1);
  return {pruned_heads, std::max<int64_t>(0, pruned_neurons)};
}

double amp_inner_ratio(double ratio, int64_t model_parameters, int64_t inner_parameters) {
  if (!(ratio >= 0 && ratio < 1)) throw UserError("amp", "ratio", "a number in [0, 1)", fmt::format("{}", ratio));
  if (inner_parameters < 1) user_error("amp: the model has no attention or MLP parameters");
  return ratio * static_cast<double>(model_parameters) / static_cast<double>(inner_parameters);
}

at::Tensor group_sums(const at::Tensor& head_scores, int64_t groups) {
  const int64_t heads = head_scores.size(0);
  ESP_ASSERT(groups > 0 && heads % groups == 0, "{} heads in {} groups", heads, groups);
  return head_scores.reshape({groups, heads / groups}).sum(1);
}

at::Tensor expand_to_heads(const at::Tensor& group_values, int64_t heads) {
  const int64_t groups = group_values.size(0);
  ESP_ASSERT(groups > 0 && heads % groups == 0, "{} heads in {} groups", heads, groups);
  return group_values.unsqueeze(1).expand({groups, heads / groups}).reshape({heads});
}

}  // namespace espalier
