// 03 AMP (2025): heads by the L1 size of what they add to the residual stream, neurons by their mean absolute
// activation; the same share of the weakest goes from every block. The paper's LoRA recovery is `--repair lora`.
#include <algorithm>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/core/rng.h"
#include "espalier/graph/sublayers.h"
#include "espalier/lab/criteria/amp_scores.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/structures/unit_removal.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/surgery.h"

namespace espalier::amp_method {
namespace {

// Parameters of all attention and MLP branches, each weight once.
int64_t inner_parameters(const Graph& graph) {
  std::set<std::string> names;
  for (const auto& sublayer : find_sublayers(graph))
    for (NodeId n : sublayer.nodes)
      if (graph.nodes[static_cast<size_t>(n)].op == "Linear")
        for (const auto& [role, name] : graph.nodes[static_cast<size_t>(n)].params) names.insert(name);
  int64_t count = 0;
  for (const auto& name : names) count += graph.parameter(name).count();
  return count;
}

std::string one_of(const PruneJob& job, const std::string& option, const std::vector<std::string>& known) {
  const std::string value = job.option_text(option);
  if (std::find(known.begin(), known.end(), value) == known.end())
    throw UserError("03-amp", "option " + option, fmt::format("{}", fmt::join(known, ", ")), printable(value));
  return value;
}

double model_ratio(const PruneJob& job, const Graph& graph) {
  const std::string layers = job.option_text("layers-worth");
  if (layers.empty()) return job.sparsity();
  const int64_t blocks = job.option_int("layers-worth");
  if (blocks < 1) throw UserError("03-amp", "option layers-worth", "at least 1", layers);
  int64_t first = 0;
  for (const auto& node : graph.nodes)
    if (node.block == 0)
      for (const auto& [role, name] : node.params) first += graph.parameter(name).count();
  return static_cast<double>(blocks * first) / static_cast<double>(graph.parameter_count());
}

std::vector<double> to_vector(const at::Tensor& scores) {
  const at::Tensor wide = scores.to(at::kDouble).contiguous();
  return {wide.data_ptr<double>(), wide.data_ptr<double>() + wide.numel()};
}

// Per-prompt scores of the branches of one block, averaged over the prompts without weights.
void measure_block(PruneJob& job, const std::vector<SubLayer>& sublayers, BlockStream& stream, int block, Json& state) {
  struct Branch {
    const SubLayer* sublayer;
    at::Tensor o_weight;  // of attention
    PromptMean mean;
  };
  std::map<NodeId, Branch> branches;
  for (const auto& sublayer : sublayers) {
    if (sublayer.block != block) continue;
    const NodeId n = sublayer.out_projection;
    const std::string& name = job.graph().nodes[static_cast<size_t>(n)].name;
    branches.emplace(n, Branch{&sublayer, sublayer.attention ? job.weight(n) : at::Tensor(), PromptMean(name)});
  }
  Observer observer;
  observer.before = [&](NodeId n, const Node& node, std::vector<at::Tensor>& inputs) {
    const auto found = branches.find(n);
    if (found == branches.end()) return;
    Branch& branch = found->second;
    const at::Tensor x = inputs[0].flatten(0, 1);
    if (!branch.sublayer->attention) return branch.mean.add(neuron_activations(x, node.name));
    const int64_t head_size = job.graph().nodes[static_cast<size_t>(*branch.sublayer->attention)].integer("head_size");
    branch.mean.add(head_contributions(x, branch.o_weight, x.size(1) / head_size, node.name));
  };
  stream.observe(observer);
  for (const auto& [n, branch] : branches)
    state[fmt::format("{}.{}", block, branch.sublayer->attention ? "heads" : "neurons")] = to_vector(branch.mean.mean());
}

// All scores, from one forward of the dense model over each prompt alone.
Json measure_scores(PruneJob& job) {
  const auto sequences = job.prompts(job.option_int("prompts"), one_of(job, "prompt-order", {"first", "random"}) == "random", job.option_int("max-length"));
  const auto sublayers = find_sublayers(job.graph());
  Json scores = Json::object();
  job.for_each_block(
      sequences, 0, [&](BlockStream& stream, int block, Json& state) { measure_block(job, sublayers, stream, block, state); }, scores);
  return scores;
}

// Without heads to cut (or without neurons) the whole ratio falls on the other kind.
AmpBudget budget_of(double p, const CouplingGroup* heads, const CouplingGroup* neurons) {
  if (heads && neurons) return amp_budget(p, heads->set_count, neurons->set_count);
  const auto alone = [&](const CouplingGroup* group) {
    return group ? std::min(round_half_even(p * static_cast<double>(group->set_count)), group->set_count - 1) : 0;
  };
  return {alone(heads), alone(neurons)};
}

// Lowest first for `standard`; the other criteria change the scores so that the same rule applies.
std::vector<double> ordered(const PruneJob& job, std::vector<double> scores, const std::string& stream) {
  const std::string criterion = job.option_text("criterion");
  if (criterion == "reversed") {
    for (double& score : scores) score = -score;
  } else if (criterion == "random") {
    Rng rng = job.rng("criterion/" + stream);
    for (double& score : scores) score = rng.uniform();
  }
  return scores;
}

void prune(PruneJob& job) {
  const std::string scope = one_of(job, "scope", {"both", "heads", "mlp"});
  one_of(job, "criterion", {"standard", "reversed", "random"});
  Graph& graph = job.graph();
  const int64_t before = graph.parameter_count();
  const double p = amp_inner_ratio(model_ratio(job, graph), before, inner_parameters(graph));
  const Json scores = job.trial() ? Json() : measure_scores(job);
  const Units units = find_units(job);
  std::vector<GroupCut> cuts;
  Json counts = Json::array();
  for (int block = 0; block < graph.block_count; ++block) {
    const CouplingGroup* heads = scope == "mlp" ? nullptr : units.coupling.find(GroupKind::kHeads, block);
    const CouplingGroup* neurons = scope == "heads" ? nullptr : units.coupling.find(GroupKind::kNeurons, block);
    const AmpBudget budget = budget_of(p, heads, neurons);
    const auto remove = [&](const CouplingGroup* group, const char* table, int64_t count) -> int64_t {
      if (!group) return 0;
      const std::string key = fmt::format("{}.{}", block, table);
      const auto parts = job.trial() ? arbitrary_scores(*group) : ordered(job, scores.at(key).get<std::vector<double>>(), key);
      cuts.push_back(lowest_removed(job, *group, sums_per_set(parts, *group), count, units.name_of(group->kind)));
      return group->set_count - std::ssize(cuts.back().kept);
    };
    const int64_t head_count = remove(heads, "heads", budget.heads), neuron_count = remove(neurons, "neurons", budget.neurons);
    counts.push_back({{"block", block}, {"heads", head_count}, {"neurons", neuron_count}});
  }
  cut(graph, units.coupling, cuts);
  job.findings() = {{"inner_ratio", p}, {"head_unit", units.name_of(GroupKind::kHeads)}, {"removed_per_block", counts}, {"scores", scores}};
  job.reached(removed_share(before, graph));
}

Reproduction reproduce(ReproduceContext& context) {
  const double standard = context.run("03-amp", 0.2).quality.perplexity.value;
  const double random = context.mean_perplexity("03-amp", 0.2, {{"criterion", "random"}}, 3);
  const double reversed = context.run("03-amp", 0.2, {{"criterion", "reversed"}}).quality.perplexity.value;
  return {"removing the weakest heads and neurons costs least; the reversed criterion loses most",
          fmt::format("at 20 % without repair: standard {:.3f}, random {:.3f} (mean of 3 seeds), reversed {:.3f}", standard, random, reversed),
          standard < random && random < reversed, {{"standard", standard}, {"random", random}, {"reversed", reversed}}};
}

const RegisterMethod registered(
    {.id = "03-amp",
     .name = "AMP",
     .year = 2025,
     .kind = "OneShot",
     .taxonomy = unit_taxonomy("activation projection", "light", "peft"),
     .needs = {"data"},
     .options = {{"layers-worth", "int", "", "> 0", "instead of a share: as many parameters as this many blocks have"},
                 {"criterion", "text", "standard", "standard, reversed, random", "which end goes"},
                 {"prompts", "int", "50", "> 0", "calibration prompts, each a paragraph of the text"},
                 {"prompt-order", "text", "first", "first, random", "which paragraphs"},
                 {"max-length", "int", "512", "> 0", "tokens of a prompt at most"},
                 {"scope", "text", "both", "both, heads, mlp", "what is cut"}},
     .default_of = "params",
     .of = {},
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::amp_method
