#include "espalier/lab/measure/distance.h"

#include <cmath>

#include "espalier/core/choice.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, Metric> kMetrics[] = {{"js", Metric::kJs},     {"js-code", Metric::kJsCode},
                                                       {"kl", Metric::kKl},     {"angular", Metric::kAngular},
                                                       {"norm", Metric::kNorm}, {"perplexity", Metric::kPerplexity}};

constexpr int64_t kElementsAtOnce = 1 << 18;  // fp64 temporaries of 2 MiB stay in the cache

// sum_v a (log a - log b); a rounding error below zero is zero.
at::Tensor divergence(const at::Tensor& log_a, const at::Tensor& log_b) {
  // exp(-inf) * (-inf - x) would be NaN; its limit is 0.
  const auto terms = log_a.exp() * (log_a - log_b);
  return terms.masked_fill(log_a == -std::numeric_limits<double>::infinity(), 0).sum(-1).clamp_min(0);
}

at::Tensor angles(const at::Tensor& a, const at::Tensor& b) {
  const auto lengths = (a.norm(2, -1) * b.norm(2, -1)).clamp_min(1e-8);
  return ((a * b).sum(-1) / lengths).clamp(0, 1).acos();
}

// One value a position; for norm the squared length of the difference.
at::Tensor position_terms(Metric metric, const at::Tensor& reference, const at::Tensor& logits) {
  if (metric == Metric::kNorm) return (reference - logits).square().sum(-1);
  if (metric == Metric::kAngular) return angles(reference, logits);
  const auto log_p0 = reference.log_softmax(-1), log_p = logits.log_softmax(-1);
  if (metric == Metric::kKl) return divergence(log_p0, log_p);
  const auto log_m = at::logaddexp(log_p0, log_p) - std::log(2.0);
  if (metric == Metric::kJs) return 0.5 * (divergence(log_p0, log_m) + divergence(log_p, log_m));
  ESP_ASSERT(metric == Metric::kJsCode);
  return 0.5 * (divergence(log_m, log_p0) + divergence(log_m, log_p));
}

// Sum of f(start, end) over position ranges of at most kElementsAtOnce elements.
template <typename Terms>
double sum_in_pieces(int64_t positions, int64_t vocabulary, Terms terms) {
  const int64_t step = std::max<int64_t>(1, kElementsAtOnce / std::max<int64_t>(1, vocabulary));
  double sum = 0;
  for (int64_t start = 0; start < positions; start += step) {
    sum += terms(start, std::min(positions, start + step)).sum().template item<double>();
  }
  return sum;
}

at::Tensor piece(const at::Tensor& logits, int64_t start, int64_t end) {
  return logits.slice(0, start, end).to(at::kDouble);
}

}  // namespace

Metric metric_from_name(const std::string& name) { return choice_from_name("metric", name, kMetrics); }
std::string metric_name(Metric metric) { return choice_name(metric, kMetrics); }

void Distance::add(const at::Tensor& reference, const at::Tensor& logits) {
  ESP_ASSERT(metric_ != Metric::kPerplexity && logits.dim() == 2 && reference.sizes() == logits.sizes());
  at::NoGradGuard no_grad;
  const int64_t positions = logits.size(0);
  vocabulary_ = logits.size(1);
  const double sum = sum_in_pieces(positions, vocabulary_, [&](int64_t start, int64_t end) {
    return position_terms(metric_, piece(reference, start, end), piece(logits, start, end));
  });
  sum_ += metric_ == Metric::kNorm ? std::sqrt(sum) : sum;
  terms_ += metric_ == Metric::kNorm ? 1 : positions;
}

void Distance::add_tokens(const at::Tensor& logits, const at::Tensor& tokens) {
  ESP_ASSERT(metric_ == Metric::kPerplexity && logits.dim() == 2 && tokens.dim() == 1);
  ESP_ASSERT(tokens.size(0) == logits.size(0), "{} tokens, {} positions", tokens.size(0), logits.size(0));
  at::NoGradGuard no_grad;
  const int64_t scored = std::max<int64_t>(0, tokens.size(0) - 1);
  sum_ += sum_in_pieces(scored, logits.size(1), [&](int64_t start, int64_t end) {
    const auto next = tokens.slice(0, start + 1, end + 1).unsqueeze(1);
    return -piece(logits, start, end).log_softmax(-1).gather(1, next);
  });
  terms_ += scored;
}

double Distance::value_of(double sum, int64_t terms) const {
  const double mean = sum / static_cast<double>(terms);
  if (metric_ == Metric::kPerplexity) return std::exp(mean);
  return metric_ == Metric::kJsCode ? mean / static_cast<double>(vocabulary_) : mean;
}

double Distance::value() const {
  if (terms_ == 0) user_error("distance {}: the calibration set is empty", metric_name(metric_));
  return value_of(sum_, terms_);
}

double distance(Metric metric, const at::Tensor& reference, const at::Tensor& logits) {
  ESP_ASSERT(logits.dim() == 3 && reference.sizes() == logits.sizes());
  Distance total(metric);
  for (int64_t b = 0; b < logits.size(0); ++b) total.add(reference[b], logits[b]);
  return total.value();
}

}  // namespace espalier
