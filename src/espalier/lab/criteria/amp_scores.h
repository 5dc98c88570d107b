// AMP (2025): heads by the size of what they add to the residual stream, MLP neurons by their mean absolute activation,
// and the paper's rounding of one ratio into whole heads and neurons.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace espalier {

// One prompt of T tokens: I_h = (1/T) sum_t sum_o |sum_j X[t, h*dh + j] W_o[o, h*dh + j]|, fp64 [heads]. X is the input
// of the output projection [T, heads * dh], W_o [d, heads * dh]; its bias does not count. Products in fp32.
at::Tensor head_contributions(const at::Tensor& attention_out, const at::Tensor& o_weight, int64_t heads,
                              const std::string& name);

// One prompt: I_f = (1/T) sum_t |A[t, f]|, fp64 [F]; A [T, F] is the input of the down projection.
at::Tensor neuron_activations(const at::Tensor& activations, const std::string& name);

// Unweighted mean of per-prompt scores: a short prompt counts as much as a long one.
class PromptMean {
 public:
  explicit PromptMean(std::string name) : name_(std::move(name)) {}
  void add(const at::Tensor& scores);
  at::Tensor mean() const;  // UserError before the first prompt

 private:
  std::string name_;
  int64_t prompts_ = 0;
  at::Tensor sum_;
};

struct AmpBudget {
  int64_t heads = 0, neurons = 0;  // to remove in every layer
};

// n_h = min(round(p H), H - 1); n_f = min(round(F ((H/F)(p - n_h/H) + p)), F - 1), halves to even; never negative.
AmpBudget amp_budget(double p, int64_t heads, int64_t neurons);

// p = ratio * model parameters / parameters of all attention and MLP modules. UserError unless 0 <= ratio < 1.
double amp_inner_ratio(double ratio, int64_t model_parameters, int64_t inner_parameters);

// Grouped-query attention: a KV group scores the sum of its query heads, and is kept or removed whole.
at::Tensor group_sums(const at::Tensor& head_scores, int64_t groups);       // [heads] -> [groups]
at::Tensor expand_to_heads(const at::Tensor& group_values, int64_t heads);  // [groups] -> [heads]

}  // namespace espalier
