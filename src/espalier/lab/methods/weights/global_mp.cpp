// 24 Global MP (2022): one ranking of |w| over the whole network, with an optional minimum kept in every layer.
#include "espalier/core/error.h"
#include "espalier/lab/allocation/global_magnitude.h"
#include "espalier/lab/allocation/min_keep_rates.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

bool chosen(const PruneJob& job, const std::string& name) {
  const std::string include = job.option_text("include"), exclude = job.option_text("exclude");
  if (!include.empty() && !matches_pattern(name, include)) return false;
  return exclude.empty() || !matches_pattern(name, exclude);
}

// Linear weights in node order, a shared one once; a head tied to the embedding is an embedding.
std::vector<NodeId> prunable(const PruneJob& job, const Graph& graph) {
  std::set<std::string> taken;
  for (const auto& node : graph.nodes)
    if (node.op == "Embedding" || node.op == "PositionEmbedding") taken.insert(node.params.at("weight"));
  std::vector<NodeId> nodes;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const auto& node = graph.nodes[n];
    if (node.op == "Linear" && !job.is_protected(node.name) && chosen(job, node.name) && taken.insert(node.params.at("weight")).second)
      nodes.push_back(static_cast<NodeId>(n));
  }
  return nodes;
}

int64_t min_keep_of(const PruneJob& job, int64_t total) {
  const int64_t count = job.option_int("min_keep");
  const double percent = job.option_real("min_keep_percent");
  if (count > 0 && percent > 0) user_error("24-global-mp: give min_keep or min_keep_percent, not both");
  return percent > 0 ? min_keep_from_percent(total, percent) : count;
}

// The released rule instead of the exact one: rates are refined, then each layer loses its own smallest.
std::vector<int64_t> refined_counts(const GlobalCut& plain, double sparsity, int64_t min_keep) {
  std::vector<double> sizes, rates;
  for (size_t l = 0; l < plain.layer_size.size(); ++l) {
    sizes.push_back(static_cast<double>(plain.layer_size[l]));
    rates.push_back(1 - plain.density(l));
  }
  const RefinedRates refined = refine_rates(sizes, rates, sparsity, min_keep);
  if (!refined.converged) user_error("24-global-mp: mt_rule rescale reaches only {:.4f} of the asked sparsity {}", refined.overall, sparsity);
  std::vector<int64_t> counts;
  for (size_t l = 0; l < sizes.size(); ++l) counts.push_back(layer_removal(refined.sparsity[l], plain.layer_size[l]));
  return counts;
}

void prune(PruneJob& job) {
  if (job.option_text("schedule") != "oneshot")
    throw UserError("24-global-mp", "option schedule", "oneshot (the cubic schedule prunes during training)", job.option_text("schedule"));
  const std::string rule = job.option_text("mt_rule");
  if (rule != "exact" && rule != "rescale") throw UserError("24-global-mp", "option mt_rule", "exact or rescale", rule);
  const auto nodes = prunable(job, job.graph());
  if (nodes.empty()) user_error("24-global-mp: no tensor can be pruned: everything is protected or excluded");
  std::vector<LayerWeights> layers;
  int64_t total = 0;
  for (NodeId n : nodes) {
    const auto& node = job.graph().nodes[static_cast<size_t>(n)];
    const int64_t size = job.graph().parameter_of(node, "weight").count();
    layers.push_back({node.params.at("weight"), size, [&job, n] { return job.stored_weight(n); }});
    total += size;
  }
  const int64_t min_keep = min_keep_of(job, total);
  const GlobalCut cut = global_magnitude(layers, job.sparsity(), rule == "exact" ? min_keep : 0);
  const auto counts = rule == "rescale" ? refined_counts(cut, job.sparsity(), min_keep) : cut.layer_removed;
  Json table = Json::array();
  int64_t removed = 0;
  for (size_t l = 0; l < nodes.size(); ++l) {
    removed += counts[l];
    table.push_back({{"layer", layers[l].name}, {"size", cut.layer_size[l]}, {"kept", cut.layer_size[l] - counts[l]},
                     {"density", static_cast<double>(cut.layer_size[l] - counts[l]) / static_cast<double>(std::max<int64_t>(1, cut.layer_size[l]))}});
  }
  Json state = Json::object();
  const auto mask_of = [&](size_t l) {
    const at::Tensor stored = job.stored_weight(nodes[l]);
    return rule == "exact" ? magnitude_cut_mask(stored, cut.cuts[l]) : magnitude_count_mask(stored, counts[l], layers[l].name);
  };
  const auto apply = [&](int block) {
    for (size_t l = 0; l < nodes.size(); ++l)
      if (job.graph().nodes[static_cast<size_t>(nodes[l])].block == block) job.mask_stored(nodes[l], mask_of(l));
  };
  job.for_each_block_without_data([&](int block, Json&) { apply(block); }, state);
  apply(job.graph().block_count);
  job.findings() = {{"threshold", cut.threshold}, {"layers", table}};
  job.reached(static_cast<double>(removed) / static_cast<double>(total));
}

Reproduction reproduce(ReproduceContext& context) {
  const double global = context.run("24-global-mp", 0.5).quality.perplexity.value, layer = context.run("magnitude", 0.5).quality.perplexity.value;
  const double random = context.mean_perplexity("random", 0.5, {}, 3);
  return {"one global ranking of magnitudes is a strong baseline: better than uniform per-layer magnitude and random",
          fmt::format("at 50 % without retraining: global {:.3f}, per layer {:.3f}, random {:.3f}", global, layer, random),
          global < layer && layer < random, {{"global", global}, {"layer", layer}, {"random", random}}};
}

const RegisterMethod registered(
    {.id = "24-global-mp",
     .name = "Global MP",
     .year = 2022,
     .kind = "OneShot",
     .taxonomy = {{"weight", "nm"}, "specific", {"after"}, "none", "magnitude", "", "global", "one-shot", "full", "", {"cnn", "llm"}},
     .needs = {},
     .options = {{"min_keep", "int", "0", ">= 0", "weights that every layer keeps at least"},
                 {"min_keep_percent", "real", "0", "0 to 100", "the same as a percentage of all prunable weights"},
                 {"mt_rule", "text", "exact", "exact, rescale", "rescale: the released code's rule, which changes all rates"},
                 {"schedule", "text", "oneshot", "oneshot", "cubic belongs to training"},
                 {"include", "text", "", "pattern", "only nodes whose name matches; * stands for any text"},
                 {"exclude", "text", "", "pattern", "not these"}},
     .default_of = "params",
     .of = {},
     .patterns = false,
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier
