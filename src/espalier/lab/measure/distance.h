// How far a changed model's logits are from the intact model's (FinerCut, 2024; shared by every "remove and measure").
//
//   norm        mean over sequences of the Frobenius norm of Z0 - Z over positions and vocabulary
//   angular     mean over positions of arccos(clamp(cos(Z0_t, Z_t), 0, 1)), cos with max(|a||b|, 1e-8)
//   kl          mean over positions of sum_v p0 (log p0 - log p)
//   js          mean over positions of the Jensen-Shannon divergence, natural logarithm: [0, ln 2]
//   js-code     FinerCut's released code: 0.5 [m (log m - log p0) + m (log m - log p)], mean over positions AND
//   vocabulary perplexity  exp of the mean negative log-likelihood of the changed model alone; needs the tokens
//
// Everything is computed in fp64, a bounded number of positions at a time. Every term is non-negative, so a running sum
// bounds the final value from below: that is what early abandoning uses. NaN logits give a NaN distance.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace espalier {

enum class Metric { kNorm, kAngular, kKl, kJs, kJsCode, kPerplexity };
Metric metric_from_name(const std::string& name);  // UserError lists the known ones
std::string metric_name(Metric metric);

class Distance {
 public:
  explicit Distance(Metric metric) : metric_(metric) {}

  // One sequence: reference and logits [positions, vocabulary]. Not for perplexity.
  void add(const at::Tensor& reference, const at::Tensor& logits);
  // One sequence for perplexity: logits [positions, vocabulary], tokens int64 [positions]. Position t predicts token
  // t + 1; a sequence of one token contributes nothing.
  void add_tokens(const at::Tensor& logits, const at::Tensor& tokens);

  double value() const;  // UserError when nothing was added

  // The least value that the whole run can still have, given its number of terms: of sequences for norm, of scored
  // tokens for perplexity, of positions otherwise.
  double lower_bound(int64_t terms_in_all) const { return value_of(sum_, terms_in_all); }

 private:
  double value_of(double sum, int64_t terms) const;
  Metric metric_;
  double sum_ = 0;
  int64_t terms_ = 0, vocabulary_ = 1;
};

// Of whole batches [sequences, positions, vocabulary].
double distance(Metric metric, const at::Tensor& reference, const at::Tensor& logits);

}  // namespace espalier
