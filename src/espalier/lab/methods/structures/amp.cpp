// 03 AMP (2025): heads by the L1 size of what they add to the residual stream, neurons by their mean absolute
// activation; the same share of the weakest goes from every block. The paper's LoRA recovery is `--repair lora`.
#include "espalier/core/error.h"
#include "espalier/core/rng.h"
#include "espalier/lab/criteria/amp_scores.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/structures/unit_removal.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/surgery.h"

namespace espalier {
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

double model_ratio(const PruneJob& job, const Graph& graph) {
  const std::string layers = job.option_text("layers-worth");
  if (layers.empty()) return job.sparsity();
  int64_t first = 0;
  for (const auto& node : graph.nodes)
    if (node.block == 0)
      for (const auto& [role, name] : node.params) first += graph.parameter(name).count();
  return static_cast<double>(job.option_int("layers-worth") * first) / static_cast<double>(graph.parameter_count());
}

std::vector<double> to_vector(const at::Tensor& scores) {
  const at::Tensor wide = scores.to(at::kDouble).contiguous();
  return {wide.data_ptr<double>(), wide.data_ptr<double>() + wide.numel()};
}

// Scores of every branch from one dense forward over each prompt, per-prompt means averaged without weights.
Json measure_scores(PruneJob& job) {
  const std::string order = job.option_text("prompt-order");
  if (order != "first" && order != "random") throw UserError("03-amp", "option prompt-order", "first or random", order);
  const auto sequences = job.prompts(job.option_int("prompts"), order == "random", job.option_int("max-length"));
  const auto sublayers = find_sublayers(job.graph());
  Json scores = Json::object();
  job.for_each_block(
      sequences, 0,
      [&](BlockStream& stream, int block, Json& state) {
        std::map<NodeId, PromptMean> means;
        Observer observer;
        observer.before = [&](NodeId n, const Node& node, std::vector<at::Tensor>& inputs) {
          for (const auto& sublayer : sublayers) {
            if (sublayer.out_projection != n) continue;
            PromptMean& mean = means.try_emplace(n, node.name).first->second;
            const at::Tensor x = inputs[0].flatten(0, 1);
            if (sublayer.kind == SubLayer::Kind::kFfn) {
              mean.add(neuron_activations(x, node.name));
            } else {
              const int64_t head_size = job.graph().nodes[static_cast<size_t>(*sublayer.attention)].integer("head_size");
              mean.add(head_contributions(x, job.weight(n), x.size(1) / head_size, node.name));
            }
          }
        };
        stream.observe(observer);
        for (const auto& [n, mean] : means) {
          const bool attention = std::any_of(sublayers.begin(), sublayers.end(), [&](const SubLayer& s) { return s.out_projection == n && s.attention; });
          state[fmt::format("{}.{}", block, attention ? "heads" : "neurons")] = to_vector(mean.mean());
        }
      },
      scores);
  return scores;
}

// Lowest first for `standard`; the other criteria change the scores so that the same rule applies.
std::vector<double> ordered(const PruneJob& job, std::vector<double> scores, const std::string& stream) {
  const std::string criterion = job.option_text("criterion");
  if (criterion == "reversed") {
    for (double& score : scores) score = -score;
  } else if (criterion == "random") {
    Rng rng = job.rng("criterion/" + stream);
    for (double& score : scores) score = rng.uniform();
  } else if (criterion != "standard") {
    throw UserError("03-amp", "option criterion", "standard, reversed or random", printable(criterion));
  }
  return scores;
}

// Query heads' scores summed over the heads that one set of the group holds.
std::vector<double> per_set(const std::vector<double>& heads, const CouplingGroup& group) {
  std::vector<double> sums(static_cast<size_t>(group.set_count), 0);
  const size_t queries = heads.size() / sums.size();
  for (size_t h = 0; h < heads.size(); ++h) sums[h / queries] += heads[h];
  return sums;
}

void prune(PruneJob& job) {
  const std::string scope = job.option_text("scope");
  if (scope != "both" && scope != "heads" && scope != "mlp") throw UserError("03-amp", "option scope", "both, heads or mlp", scope);
  Graph& graph = job.graph();
  const int64_t before = graph.parameter_count();
  const double p = amp_inner_ratio(model_ratio(job, graph), before, inner_parameters(graph));
  const Json scores = measure_scores(job);
  const auto widths = block_widths(graph);
  // With one KV head there is no group to remove: query heads go and K and V stay.
  const bool mqa = std::all_of(widths.begin(), widths.end(), [](const BlockWidths& w) { return !w.attention || w.kv_heads == 1; });
  CouplingOptions options;
  options.head_unit = mqa ? HeadUnit::kQueryHead : HeadUnit::kKvGroup;
  options.protect = job.settings().protect;
  const Coupling coupling = find_coupling(graph, options);
  std::vector<GroupCut> cuts;
  Json counts = Json::array();
  for (int block = 0; block < graph.block_count; ++block) {
    const CouplingGroup* heads = units_of(coupling, GroupKind::kHeads, block);
    const CouplingGroup* neurons = units_of(coupling, GroupKind::kNeurons, block);
    const AmpBudget budget = amp_budget(p, heads ? heads->set_count : 1, neurons ? neurons->set_count : 1);
    const std::string head_key = fmt::format("{}.heads", block), neuron_key = fmt::format("{}.neurons", block);
    if (heads && scope != "mlp" && budget.heads > 0)
      cuts.push_back(lowest_removed(job, *heads, per_set(ordered(job, scores.at(head_key), head_key), *heads), budget.heads, mqa ? "head" : "kv_group"));
    if (neurons && scope != "heads" && budget.neurons > 0)
      cuts.push_back(lowest_removed(job, *neurons, ordered(job, scores.at(neuron_key), neuron_key), budget.neurons, "neuron"));
    counts.push_back({{"block", block}, {"heads", budget.heads}, {"neurons", budget.neurons}});
  }
  cut(graph, coupling, cuts);
  job.findings() = {{"inner_ratio", p}, {"removed_per_block", counts}, {"scores", scores}};
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
     .taxonomy = {{"head", "neuron"}, "universal", {"after"}, "unlabelled", "activation projection", "", "local", "one-shot", "light", "peft", {"llm"}},
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
}  // namespace espalier
