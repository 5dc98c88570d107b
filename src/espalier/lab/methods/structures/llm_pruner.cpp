// Baseline B6, LLM-Pruner (2023): coupled groups by Taylor importance, from gradients of the next-token loss.
#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/ranking.h"
#include "espalier/core/signals.h"
#include "espalier/lab/criteria/taylor.h"
#include "espalier/lab/methods/structures/unit_removal.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier::llm_pruner_method {
namespace {

// Of one weight, in the layout [out, in] whatever the stored one is: a row is an output.
struct Gathered {
  bool transposed;
  TaylorStatistics statistics;
};
using Statistics = std::map<std::string, Gathered>;  // by parameter

// Embeddings, norms and the head take no part: only weights inside the blocks get gradients.
Statistics gather_gradients(PruneJob& job, const TokenSequences& samples) {
  at::AutoGradMode with_gradients(true);
  const Graph& graph = job.graph();
  Weights weights(graph);
  Statistics statistics;
  std::map<std::string, at::Tensor> leaves;
  for (const auto& node : graph.nodes) {
    if (node.op != "Linear" || node.block < 0 || node.block >= graph.block_count) continue;
    const std::string& name = node.params.at("weight");
    leaves[name] = weights.get(name).detach().clone().set_requires_grad(true);
    weights.set(name, leaves[name]);
    statistics.try_emplace(name, Gathered{node.flag_or("transposed", false), TaylorStatistics(name)});
  }
  const Interpreter interpreter(graph, weights);
  Progress progress("gradients", static_cast<int64_t>(samples.size()), "sample");
  for (const auto& sample : samples) {
    check_interrupted();
    const at::Tensor ids = token_tensor(sample);
    const at::Tensor logits = interpreter.forward(ids.narrow(1, 0, ids.size(1) - 1));
    at::cross_entropy_loss(logits.flatten(0, 1), ids.narrow(1, 1, ids.size(1) - 1).flatten()).backward();
    for (auto& [name, leaf] : leaves) {
      Gathered& gathered = statistics.at(name);
      gathered.statistics.add(gathered.transposed ? leaf.grad().t() : leaf.grad());
      leaf.mutable_grad() = at::Tensor();
    }
    progress.advance(1);
  }
  return statistics;
}

// One value a set: the importance of the member's slices, rows or columns of `elements` (or its single values).
at::Tensor member_scores(const CouplingMember& member, const at::Tensor& elements, bool rows, int64_t sets) {
  const at::Tensor slices = elements.dim() == 1 ? elements : elements.sum(rows ? 1 : 0);
  std::vector<int64_t> indices, owners;
  for (size_t i = 0; i < member.set_of_index.size(); ++i) {
    if (member.set_of_index[i] < 0) continue;
    indices.push_back(static_cast<int64_t>(i));
    owners.push_back(member.set_of_index[i]);
  }
  const auto longs = [](const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); };
  return at::zeros({sets}, at::kDouble).index_add(0, longs(owners), slices.to(at::kDouble).index_select(0, longs(indices)));
}

std::vector<double> group_scores(const PruneJob& job, const CouplingGroup& group, const Statistics& statistics, Taylor kind, GroupReduction reduction) {
  std::vector<at::Tensor> members;
  for (const auto& member : group.members) {
    const auto found = statistics.find(member.param);
    if (found == statistics.end()) continue;  // a bias
    const auto& [transposed, gathered] = found->second;
    const bool rows = (member.axis == 0) != transposed;
    if (kind == Taylor::kVector && !rows) continue;  // one value a row: columns have none
    const at::Tensor stored = to_torch(job.graph().parameter(member.param).load());
    members.push_back(member_scores(member, taylor_importance(kind, transposed ? stored.t() : stored, gathered), rows, group.set_count));
  }
  const at::Tensor scores = reduce_group(reduction, members).to(at::kDouble).contiguous();
  return {scores.data_ptr<double>(), scores.data_ptr<double>() + scores.numel()};
}

void prune(PruneJob& job) {
  const Taylor kind = taylor_from_name(job.option_text("importance"));
  const GroupReduction reduction = group_reduction_from_name(job.option_text("reduction"));
  const int blocks = job.graph().block_count;
  const auto skipped = [&](const std::string& option) {
    check_share(job.option_real(option), "llm-pruner: " + option);
    return static_cast<int>(round_half_even(job.option_real(option) * blocks));
  };
  const int first = skipped("skip-first"), last = blocks - skipped("skip-last");
  if (first >= last)
    throw UserError("llm-pruner", "skip-first, skip-last", fmt::format("to leave one of the {} blocks", blocks), fmt::format("blocks {} to {}", first, last - 1));
  const int64_t length = job.option_int("length");
  if (length < 2) throw UserError("llm-pruner", "option length", "at least 2 tokens", fmt::format("{}", length));
  const Statistics statistics =
      job.trial() ? Statistics() : gather_gradients(job, job.windows(job.option_int("samples"), std::min(length, job.model().context_length)));
  remove_share_of_units(job, first, last,
                        [&](const CouplingGroup& group) { return group_scores(job, group, statistics, kind, reduction); });
}

Reproduction reproduce(ReproduceContext& context) {
  return against_random_units(context, "llm-pruner",
                              "gradients find heads and neurons that can go (LLaMA-7B at 20 %: second best of its table before repair)");
}

const RegisterMethod registered(
    {.id = "llm-pruner",
     .name = "LLM-Pruner",
     .year = 2023,
     .kind = "OneShot",
     .taxonomy = unit_taxonomy("first order (Taylor)", "light", "peft"),
     .needs = {"data", "gradients"},
     .options = {{"importance", "text", "param_first", "param_first, param_second, param_mix, vector", "estimate of an element's importance"},
                 {"reduction", "text", "sum", "sum, prod, max, last", "from the members of a group to one score"},
                 {"samples", "int", "10", "> 0", "calibration samples"},
                 {"length", "int", "128", "> 1", "tokens of a sample"},
                 {"skip-first", "real", "0.125", "[0, 1)", "share of the first blocks that stay untouched"},
                 {"skip-last", "real", "0.0625", "[0, 1)", "share of the last blocks that stay untouched"}},
     .default_of = "heads",
     .of = {},
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::llm_pruner_method
