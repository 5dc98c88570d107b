// 23 PERP (2023): a pruner of single weights, then training of a sliver of the parameters (lab/repair/perp.h, which
// `--repair perp` calls after any other method).
#include "espalier/core/error.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/repair/bool_mask.h"
#include "espalier/lab/repair/perp.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/trainer.h"

namespace espalier::perp_method {
namespace {

// The options that the repair has under the same names; empty ones are its own defaults.
RepairSettings repair_settings(const PruneJob& job) {
  RepairSettings settings;
  for (const auto& [name, value] : job.all_options())
    if (name != "pruner" && name != "mask" && !value.empty()) settings[name] = value;
  return settings;
}

// Masks that another job made become this job's: noted, stored beside the result, kept by the repair.
void adopt_masks(PruneJob& job, const std::map<std::string, WeightMask>& masks) {
  Graph& graph = job.graph();
  int64_t removed = 0, total = 0;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const auto mask = node.has_param("weight") ? masks.find(node.params.at("weight")) : masks.end();
    if (mask == masks.end() || job.masks().count(mask->first)) continue;
    job.mask_stored(static_cast<NodeId>(n), bool_mask(mask->second));
    removed += mask->second.removed();
    total += mask->second.count();
  }
  job.reached(total > 0 ? static_cast<double>(removed) / static_cast<double>(total) : 0);
}

void prune_by(PruneJob& job, const std::string& id) {
  const Method& pruner = find_method(id);
  if (!pruner.patterns || pruner.id == job.method().id)
    throw UserError(job.method().id, "option pruner", "a method that removes single weights", "'" + pruner.id + "'");
  JobSettings settings = job.settings();
  settings.options.clear();
  settings.of = pruner.default_of;
  PruneJob inner(pruner, job.model(), job.source(), settings, nullptr, 0);
  pruner.prune(inner);
  if (job.trial()) return job.reached(inner.reached());
  adopt_masks(job, inner.masks());
}

void prune(PruneJob& job) {
  const PerpOptions options = perp_options(repair_settings(job));
  const std::string file = job.option_text("mask");
  if (!file.empty()) {
    const Mask mask = Mask::load(file);
    check_fits(mask, job.graph(), file);
    adopt_masks(job, mask.weights);
  } else {
    prune_by(job, job.option_text("pruner"));
  }
  if (job.trial()) return;
  check_perp_job(job, options);
  repair_by_perp(job, options);
}

// In a training of a model that is sparse already: all but the chosen parameters stand still, adapters are merged at the end.
class PerpPlugin : public Plugin {
 public:
  explicit PerpPlugin(PerpOptions options) : options_(std::move(options)) {}

  std::string id() const override { return "23-perp"; }

  void before_training(Training& training) override {
    std::map<std::string, at::Tensor> keep;
    const std::vector<std::string> names = training.trained();
    for (const auto& name : names)
      if (const at::Tensor mask = training.mask(name); mask.defined()) keep[name] = mask;
    trained_ = std::make_unique<PerpWeights>(training.graph(), keep, options_, training.options().seed);
    const std::set<std::string> own(names.begin(), names.end());
    for (const auto& name : names)
      if (!trained_->leaves().count(name)) training.freeze(name);
    const std::map<std::string, at::Tensor> leaves = trained_->leaves();
    for (const auto& [name, leaf] : leaves) {
      if (!own.count(name)) training.add_trained(name, leaf);
      trained_->train_instead(name, training.value(name));
    }
  }
  void on_batch(Training& training, TrainingBatch&) override { trained_->install(training.weights()); }
  // What is evaluated, and stored at the end, has the adapters in it; they go on from the weights that they began with.
  void after_step(Training& training) override {
    trained_->mask();
    if (const int64_t done = training.step() + 1; done % training.steps_an_epoch() != 0 && done != training.steps()) return;
    at::NoGradGuard no_gradients;
    for (const auto& [name, value] : trained_->merged()) training.value(name).copy_(value);
  }
  Json findings() const override {
    const PerpCounts& counts = trained_->counts();
    return {{"trained", counts.trained()}, {"share", static_cast<double>(counts.trained()) / static_cast<double>(counts.total)}};
  }

 private:
  PerpOptions options_;
  std::unique_ptr<PerpWeights> trained_;
};

// What the training says for itself is no matter of the method then.
std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  RepairSettings settings;
  for (const char* name : {"train", "lora", "rank", "alpha"})
    if (request.options.has(name)) settings[name] = request.options.text(name);
  if (request.sparsity) user_error("23-perp: train goes on with a model that is sparse already; `prune --method perp` removes weights first");
  return std::make_unique<PerpPlugin>(perp_options(settings));
}

Reproduction reproduce(ReproduceContext& context) {
  constexpr uint64_t kSeeds = 2;
  constexpr double kSparsity = 0.6;
  const auto perplexity = [&](const std::string& train, const std::string& rate) {
    double mean = 0;
    for (uint64_t seed = 0; seed < kSeeds; ++seed)
      mean += context.run("23-perp", kSparsity, {{"train", train}, {"steps", "200"}, {"lr", rate}}, seed).quality.perplexity.value / kSeeds;
    return mean;
  };
  const double pruned = context.run("magnitude", kSparsity).quality.perplexity.value;
  const double wanda = context.run("wanda", kSparsity).quality.perplexity.value;
  const double norm = perplexity("norm", "5e-4"), perp = perplexity("norm,lora", "5e-4"), full = perplexity("full", "5e-4");
  return {"after magnitude pruning training well under 1 % of the parameters of a large model recovers most, competes with better pruners and with full retraining",
          fmt::format("60 % of the embedded language model's weights, 200 steps, mean of {} seeds: perplexity {:.1f} as pruned by magnitude, {:.1f} with its norms "
                      "trained, {:.1f} with norms and masked adapters, {:.1f} with all weights; Wanda without training {:.1f}; dense {:.1f}",
                      kSeeds, pruned, norm, perp, full, wanda, context.dense().perplexity.value),
          norm < pruned && perp <= norm && perp <= 1.05 * full && perp < wanda,
          {{"pruned", pruned}, {"norm", norm}, {"perp", perp}, {"full", full}, {"wanda", wanda}}};
}

const RegisterMethod registered(
    {.id = "23-perp",
     .name = "PERP",
     .year = 2023,
     .kind = "Plugin",
     .taxonomy = {{"weight", "nm"}, "specific", {"after"}, "unlabelled", "given by another method", "", "local", "iterative", "light", "peft", {"llm", "cnn", "vit"}},
     .needs = {"data", "gradients", "training"},
     .options = {{"pruner", "text", "magnitude", "a method of single weights", "what removes the weights"},
                 {"mask", "text", "", "file", "instead: the mask of a model that is sparse already"},
                 {"train", "text", "", "of bias, norm, head, embed, lora, full", "what is trained; empty: bias,norm,head,lora, without a tied head"},
                 {"lora", "text", "mask_lora", "mask_lora, scale_lora, lora_prune, lora", "form of the adapters"},
                 {"rank", "int", "16", "> 0", "of the adapters"},
                 {"alpha", "real", "32", "> 0", "their scale is alpha / rank"},
                 {"mode", "text", "retrain", "retrain, reconstruct", "by the task's loss, or block by block towards the dense model"},
                 {"steps", "int", "", "> 0", "empty: 1000, or 200 a block"},
                 {"lr", "real", "", "> 0", "empty: 5e-4, of scale_lora 1e-4"},
                 {"warmup", "real", "0.1", "0 to 1", "share of the steps; then linear to 0"},
                 {"batch", "int", "2", "> 0", "sequences or pictures"},
                 {"accumulation", "int", "1", "> 0", "batches a step"},
                 {"length", "int", "", "> 0", "tokens; empty: the context, at most 512"}},
     .default_of = "params",
     .of = {},
     .patterns = true,
     .prune = prune,
     .plugin = plugin,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::perp_method
