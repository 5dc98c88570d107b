// Baseline B6, LLM-Pruner (2023): coupled groups by Taylor importance, from gradients of the next-token loss.
#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/ranking.h"
#include "espalier/core/signals.h"
#include "espalier/lab/criteria/taylor.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/structures/unit_removal.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/surgery.h"

namespace espalier {
namespace {

using Statistics = std::map<std::string, TaylorStatistics>;  // by parameter, stored layout

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
    statistics.try_emplace(name, name);
  }
  const Interpreter interpreter(graph, weights);
  Progress progress("gradients", static_cast<int64_t>(samples.size()), "sample");
  for (const auto& sample : samples) {
    check_interrupted();
    const at::Tensor ids = token_tensor(sample);
    const at::Tensor logits = interpreter.forward(ids.narrow(1, 0, ids.size(1) - 1));
    at::cross_entropy_loss(logits.flatten(0, 1), ids.narrow(1, 1, ids.size(1) - 1).flatten()).backward();
    for (auto& [name, leaf] : leaves) {
      statistics.at(name).add(leaf.grad());
      leaf.mutable_grad() = at::Tensor();
    }
    progress.advance(1);
  }
  return statistics;
}

// One value a set: the importance of the member's slices.
at::Tensor member_scores(const CouplingMember& member, const at::Tensor& elements, int64_t sets) {
  const at::Tensor slices = elements.dim() == 1 ? elements : elements.sum(1 - static_cast<int64_t>(member.axis));
  at::Tensor scores = at::zeros({sets}, at::kDouble);
  for (size_t i = 0; i < member.set_of_index.size(); ++i)
    if (member.set_of_index[i] >= 0) scores[member.set_of_index[i]] += slices[static_cast<int64_t>(i)].to(at::kDouble);
  return scores;
}

std::vector<double> group_scores(PruneJob& job, const CouplingGroup& group, const Statistics& statistics, Taylor kind, GroupReduction reduction) {
  std::vector<at::Tensor> members;
  for (const auto& member : group.members) {
    const auto found = statistics.find(member.param);
    if (found == statistics.end()) continue;
    // `vector` has one value a row; a member cut along the columns has none
    if (kind == Taylor::kVector && member.axis != 0) continue;
    const at::Tensor weight = to_torch(job.graph().parameter(member.param).load());
    members.push_back(member_scores(member, taylor_importance(kind, weight, found->second), group.set_count));
  }
  const at::Tensor scores = reduce_group(reduction, members).to(at::kDouble).contiguous();
  return {scores.data_ptr<double>(), scores.data_ptr<double>() + scores.numel()};
}

void prune(PruneJob& job) {
  Graph& graph = job.graph();
  const Taylor kind = taylor_from_name(job.option_text("importance"));
  const GroupReduction reduction = group_reduction_from_name(job.option_text("reduction"));
  const double first_share = job.option_real("skip-first"), last_share = job.option_real("skip-last");
  for (double share : {first_share, last_share}) check_share(share, "llm-pruner: skip-first, skip-last");
  const auto first = static_cast<int>(round_half_even(first_share * graph.block_count));
  const auto last = graph.block_count - static_cast<int>(round_half_even(last_share * graph.block_count));
  const Statistics statistics =
      gather_gradients(job, job.windows(job.option_int("samples"), std::min(job.option_int("length"), job.model().context_length)));
  const int64_t before = graph.parameter_count();
  CouplingOptions options;
  options.protect = job.settings().protect;
  const Coupling coupling = find_coupling(graph, options);
  std::vector<GroupCut> cuts;
  for (int block = first; block < last; ++block) {
    for (GroupKind unit : {GroupKind::kHeads, GroupKind::kNeurons}) {
      const CouplingGroup* group = units_of(coupling, unit, block);
      if (!group) continue;
      const int64_t remove = std::min(removal_count(job.sparsity(), group->set_count), group->set_count - 1);
      if (remove > 0)
        cuts.push_back(lowest_removed(job, *group, group_scores(job, *group, statistics, kind, reduction), remove,
                                      unit == GroupKind::kHeads ? "kv_group" : "neuron"));
    }
  }
  cut(graph, coupling, cuts);
  job.reached(removed_share(before, graph));
}

Reproduction reproduce(ReproduceContext& context) {
  const auto ours = context.run("llm-pruner", 0.25), random = context.run("03-amp", 0.2, {{"criterion", "random"}});
  return {"gradients find heads and neurons that can go (LLaMA-7B at 20 %: second best of its table before repair)",
          fmt::format("a quarter of the units of the middle blocks ({:.1f} % of parameters) removed: {:.3f}; random units ({:.1f} %): {:.3f}",
                      100 * ours.reached, ours.quality.perplexity.value, 100 * random.reached, random.quality.perplexity.value),
          ours.quality.perplexity.value < random.quality.perplexity.value, {{"llm_pruner", ours.quality.perplexity.value}, {"random", random.quality.perplexity.value}}};
}

const RegisterMethod registered(
    {.id = "llm-pruner",
     .name = "LLM-Pruner",
     .year = 2023,
     .kind = "OneShot",
     .taxonomy = {{"head", "neuron"}, "universal", {"after"}, "unlabelled", "first order (Taylor)", "", "local", "one-shot", "light", "peft", {"llm"}},
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
}  // namespace espalier
