#include "espalier/core/error.h"
#include "espalier/lab/criteria/amp_scores.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::amp_cases {
namespace {

at::Tensor head_scores(const Case& c, const std::string& attention_out) {
  const int64_t heads = c.integer("num_heads");
  const auto w = c.floats("W_o");
  const int64_t width = heads * c.integer_or("head_dim", w.size(1) / heads);
  if (width != w.size(1)) {
    throw UserError(c.where(), "num_heads * head_dim", fmt::format("{}", w.size(1)), fmt::format("{}", width));
  }
  return head_contributions(c.floats(attention_out), w, heads, c.name);
}

Tensors heads_and_neurons(const Case& c) {
  const auto heads = head_scores(c, "attn_out"), neurons = neuron_activations(c.floats("mlp_act"), c.name);
  const auto budget = amp_budget(c.number("ratio"), heads.size(0), neurons.size(0));
  return {{"head_importance", heads},
          {"neuron_importance", neurons},
          {"n_heads_pruned", scalar(budget.heads)},
          {"n_neurons_pruned", scalar(budget.neurons)},
          {"head_keep", keep_units(heads, budget.heads, c.name)},
          {"neuron_keep", keep_units(neurons, budget.neurons, c.name)}};
}

Tensors prompt_average(const Case& c) {
  PromptMean mean(c.name);
  for (const auto& [key, value] : c.inputs) {
    if (key.starts_with("attn_out")) mean.add(head_scores(c, key));
  }
  return {{"head_importance", mean.mean()}};
}

Tensors budget_rounding(const Case& c) {
  const auto ratios = c.input("ratio").reshape({-1});
  std::vector<int64_t> heads, neurons;
  for (int64_t i = 0; i < ratios.size(0); ++i) {
    const auto budget = amp_budget(ratios[i].item<double>(), c.integer("num_heads"), c.integer("num_neurons"));
    heads.push_back(budget.heads);
    neurons.push_back(budget.neurons);
  }
  return {{"n_heads_pruned", at::tensor(heads, at::kLong)}, {"n_neurons_pruned", at::tensor(neurons, at::kLong)}};
}

Tensors ties_zero_heads(const Case& c) {
  const auto scores = head_scores(c, "attn_out");
  return {{"head_importance", scores}, {"head_keep", keep_units(scores, c.integer("prune"), c.name)}};
}

Tensors gqa_group_sum(const Case& c) {
  const auto scores = head_scores(c, "attn_out");
  const auto groups = group_sums(scores, c.integer("kv_heads"));
  const auto keep = keep_units(groups, c.integer("prune_groups"), c.name);
  return {{"head_importance", scores},
          {"group_importance", groups},
          {"group_keep", keep},
          {"head_keep", expand_to_heads(keep, scores.size(0))}};
}

const Register kRegister("03-amp", {{"heads_and_neurons", heads_and_neurons},
                                    {"prompt_average", prompt_average},
                                    {"budget_rounding", budget_rounding},
                                    {"ties_zero_heads", ties_zero_heads},
                                    {"gqa_group_sum", gqa_group_sum}});

}  // namespace
}  // namespace espalier::golden::amp_cases
