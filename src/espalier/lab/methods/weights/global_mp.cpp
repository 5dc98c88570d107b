// 24 Global MP (2022): one ranking of |w| over the whole network, with an optional minimum kept in every layer.
#include "espalier/core/error.h"
#include "espalier/lab/allocation/global_magnitude.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/weights/global_ranking.h"

namespace espalier {
namespace {

bool chosen(const PruneJob& job, const std::string& name) {
  const std::string include = job.option_text("include"), exclude = job.option_text("exclude");
  if (!include.empty() && !matches_pattern(name, include)) return false;
  return exclude.empty() || !matches_pattern(name, exclude);
}

// Weights of Conv and Linear layers in node order, a shared one once; a head tied to the embedding is an embedding.
std::vector<NodeId> prunable(const PruneJob& job, const Graph& graph) {
  std::set<std::string> taken;
  for (const auto& node : graph.nodes)
    if (node.op == "Embedding" || node.op == "PositionEmbedding") taken.insert(node.params.at("weight"));
  std::vector<NodeId> nodes;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const auto& node = graph.nodes[n];
    const bool layer = node.op == "Linear" || node.op == "Conv" || node.op == "ConvTranspose";
    if (layer && !job.is_protected(node.name) && chosen(job, node.name) &&
        taken.insert(node.params.at("weight")).second)
      nodes.push_back(static_cast<NodeId>(n));
  }
  return nodes;
}

int64_t min_keep_of(const PruneJob& job, int64_t total) {
  const int64_t count = job.option_int("min_keep");
  const double percent = job.option_real("min_keep_percent");
  if (count < 0) throw UserError("24-global-mp", "option min_keep", "at least 0", fmt::format("{}", count));
  if (count != 0 && percent != 0) user_error("24-global-mp: give min_keep or min_keep_percent, not both");
  return percent != 0 ? min_keep_from_percent(total, percent) : count;
}

MinimumRule rule_of(const PruneJob& job) {
  const std::string rule = job.option_text("mt_rule");
  if (rule == "exact") return MinimumRule::kExact;
  if (rule == "rescale") return MinimumRule::kRescale;
  throw UserError("24-global-mp", "option mt_rule", "exact or rescale", "'" + printable(rule) + "'");
}

void prune(PruneJob& job) {
  if (const std::string schedule = job.option_text("schedule"); schedule != "oneshot")
    throw UserError("24-global-mp", "option schedule",
                    "oneshot (cubic removes weights in steps during training, so it needs `train`)",
                    "'" + printable(schedule) + "'");
  const MinimumRule rule = rule_of(job);
  const RankedLayers layers = ranked_layers(job, prunable(job, job.graph()));
  prune_globally(job, layers, min_keep_of(job, layers.total), rule);
}

// Share of its weights that the emptiest layer kept.
double least_density(const ReproduceContext::Arm& arm) {
  double least = 1;
  for (const auto& layer : arm.findings.at("layers")) least = std::min(least, layer.at("density").get<double>());
  return least;
}

Reproduction reproduce(ReproduceContext& context) {
  const double global = context.run("24-global-mp", 0.5).quality.perplexity.value,
               layer = context.run("magnitude", 0.5).quality.perplexity.value;
  const double random = context.run("random", 0.5).quality.perplexity.value;
  const auto plain = context.run("24-global-mp", 0.95),
             minimum = context.run("24-global-mp", 0.95, {{"min_keep_percent", "0.05"}});
  const double plain_least = least_density(plain), minimum_least = least_density(minimum);
  const double plain_ppl = plain.quality.perplexity.value, minimum_ppl = minimum.quality.perplexity.value;
  return {
      "one global ranking of magnitudes beats uniform per-layer magnitude and random, and a minimum kept in every "
      "layer cures layers that it "
      "empties at high sparsity (the paper: after retraining, on image classifiers)",
      fmt::format("perplexity without retraining: at 50 % global {:.3f}, per layer {:.3f}, random {:.3f}; at 95 % "
                  "{:.1f} with an emptiest layer of "
                  "density {:.4f}, with a minimum of 0.05 % {:.1f} and {:.4f}",
                  global, layer, random, plain_ppl, plain_least, minimum_ppl, minimum_least),
      global < layer && layer < random && minimum_ppl < plain_ppl,
      {{"global", global},
       {"layer", layer},
       {"random", random},
       {"at_95",
        {{"plain", plain_ppl},
         {"plain_least_density", plain_least},
         {"min_keep", minimum_ppl},
         {"min_keep_least_density", minimum_least}}}}};
}

const RegisterMethod registered(
    {.id = "24-global-mp",
     .name = "Global MP",
     .year = 2022,
     .kind = "OneShot",
     .taxonomy = {{"weight"},
                  "specific",
                  {"after"},
                  "none",
                  "magnitude",
                  "",
                  "global",
                  "one-shot",
                  "full",
                  "",
                  {"cnn", "vit", "llm"}},
     .needs = {},
     .options = {{"min_keep", "int", "0", ">= 0", "weights that every layer keeps at least"},
                 {"min_keep_percent", "real", "0", "0 to 100", "the same as a percentage of all prunable weights"},
                 {"mt_rule", "text", "exact", "exact, rescale",
                  "rescale: the released code's rule, which changes all rates"},
                 {"schedule", "text", "oneshot", "oneshot", "cubic needs training, so it is refused here"},
                 {"include", "text", "", "pattern", "only nodes whose name matches; * stands for any text"},
                 {"exclude", "text", "", "pattern", "not these"}},
     .default_of = "params",
     .of = {},
     .patterns = false,
     .prune = prune,
     .reproduce = reproduce,
     .reproduces = false});  // language models: layers of similar scale; its claim is about retrained image classifiers

}  // namespace
}  // namespace espalier
