// 24 Global MP (2022): one ranking of |w| over the whole network, with an optional minimum kept in every layer.
#include "espalier/core/error.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/allocation/global_magnitude.h"
#include "espalier/lab/methods/picture_arm.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training/picture_training.h"
#include "espalier/lab/methods/weights/global_ranking.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/density_schedule.h"
#include "espalier/lab/training/dynamic_sparse.h"
#include "espalier/lab/training/small_networks.h"
#include "espalier/lab/training/step_place.h"

namespace espalier::global_mp_method {
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
    if (is_matrix_layer(node) && !job.is_protected(node.name) && chosen(job, node.name) &&
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
                    "oneshot (cubic removes weights in steps during training: espalier train --method 24-global-mp)",
                    "'" + printable(schedule) + "'");
  const MinimumRule rule = rule_of(job);
  const RankedLayers layers = ranked_layers(job, prunable(job, job.graph()));
  prune_globally(job, layers, min_keep_of(job, layers.total), rule);
}

// The gradual form: the same ranking again and again while the network trains.
DynamicSparse settings_along(const DensitySchedule& schedule) {
  DynamicSparse settings{.id = "24-global-mp", .floor_removed = true};
  settings.prune_to = [schedule](int64_t done) { return schedule.updates(done) || (done == 1 && schedule.end == 0) ? std::optional(1 - schedule.at(done)) : std::nullopt; };
  return settings;
}

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  const OptionValues& options = request.options;
  const std::string id = "24-global-mp";
  if (!request.sparsity) throw UserError(id, "--sparsity", "the share of the weights to remove", "none");
  check_share(*request.sparsity, id);
  if (options.text("mt_rule") != "exact") throw UserError(id, "option mt_rule", "exact (rescale is of `prune`)", "'" + printable(options.text("mt_rule")) + "'");
  if (!options.text("include").empty()) throw UserError(id, "option include", "exclude (include is of `prune`)", "'" + printable(options.text("include")) + "'");
  const auto place = [&](const std::string& name) { return step_place(fmt::format("{}: option {}", id, name), options.text(name), request.steps, request.steps_an_epoch); };
  DensitySchedule schedule{{DensityShape::kCubic, 1, 1 - *request.sparsity}, place("t0"), place("t1"), 1};
  schedule.every = options.has("interval") ? options.integer("interval", 1, int64_t{1} << 40) : std::max<int64_t>(1, request.steps / 100);
  if (options.word("schedule", {"oneshot", "cubic"}) == "oneshot") schedule.end = schedule.start;
  check_schedule(schedule, id);
  DynamicSparse settings = settings_along(schedule);
  settings.exclude = options.text("exclude");
  settings.min_keep = options.integer("min_keep", 0, int64_t{1} << 40);
  const double percent = options.real("min_keep_percent", 0, 100);
  if (percent != 0 && settings.min_keep != 0) user_error("{}: give min_keep or min_keep_percent, not both", id);
  settings.min_keep_percent = percent;
  return make_dynamic_sparse(std::move(settings));
}

// Top-1 of the embedded classifier after equal retraining under the masks.
double retrained(const ReproduceContext& context, const std::string& method, uint64_t seed) {
  PictureArmRequest arm{.method = method, .sparsity = 0.9};
  arm.seed = seed;
  arm.fine_tune = {{"steps", "100"}};
  return picture_arm(context, context.vision_model, arm).top1;
}

// Means of so many seeds, percent.
constexpr uint64_t kSeeds = 3;

struct AfterTraining {
  double global = 0, layer = 0, random = 0;
  Json seeds = Json::object();
};

AfterTraining after_training(const ReproduceContext& context) {
  AfterTraining mean;
  for (const auto& [method, sum] : {std::pair("24-global-mp", &mean.global), {"magnitude", &mean.layer}, {"random", &mean.random}})
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      const double top1 = retrained(context, method, seed);
      *sum += 100 * top1 / kSeeds;
      mean.seeds[method].push_back(top1);
    }
  return mean;
}

constexpr PictureTraining kDenseTraining{.steps = 460, .learning_rate = 0.1}, kRetraining{.steps = 460};  // ten epochs each

// A trained small network, pruned while it trains on.
struct WhileTraining {
  double at_once = 0, gradual = 0, gradual_layer = 0;
  double flops_at_once = 0, flops_gradual = 0;  // of the dense training's
};

void train_pruned(const ReproduceContext& context, const Model& dense, uint64_t seed, DynamicSparse settings, double& accuracy, double* flops) {
  Model model = copy_of(dense);
  PictureTraining training = kRetraining;
  training.seed = seed;
  Plugins plugins;
  plugins.push_back(make_dynamic_sparse(std::move(settings)));
  const Json findings = train_on_pictures(context, model, training, std::move(plugins));
  accuracy += percent_right(context, model) / kSeeds;
  if (flops) *flops += findings.at("24-global-mp").at("training flops share").get<double>() / kSeeds;
}

std::vector<Model> trained_convnets(const ReproduceContext& context) {
  std::vector<Model> models;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    models.push_back(small_convnet(seed));
    PictureTraining training = kDenseTraining;
    training.seed = seed;
    train_on_pictures(context, models.back(), training);
  }
  return models;
}

WhileTraining while_training(const ReproduceContext& context, const std::vector<Model>& dense, double sparsity) {
  const DensityCurve curve{DensityShape::kCubic, 1, 1 - sparsity};
  const DynamicSparse at_once = settings_along({curve, 0, 0, 1});
  DynamicSparse gradual = settings_along({curve, 0, kRetraining.steps * 3 / 4, kRetraining.steps / 100});
  DynamicSparse layer = gradual;
  gradual.min_keep_percent = 0.05;
  layer.scope = PruneScope::kUniform;
  WhileTraining mean;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    train_pruned(context, dense[seed], seed + 100, at_once, mean.at_once, &mean.flops_at_once);
    train_pruned(context, dense[seed], seed + 100, gradual, mean.gradual, &mean.flops_gradual);
    train_pruned(context, dense[seed], seed + 100, layer, mean.gradual_layer, nullptr);
  }
  return mean;
}

// The same function with a convolution of a hundredth of its scale, as the norm behind it divides by it.
void shrink_second_layer(Graph& graph) {
  constexpr double kScale = 0.01;
  for (const auto& [name, factor] : {std::pair("conv2.weight", kScale), {"norm2.running_mean", kScale}, {"norm2.running_var", kScale * kScale}})
    graph.parameter(name).assign(from_torch(to_torch(graph.parameter(name).load()) * factor, DType::kF32));
}

// Top-1 after training under the masks of one ranking at 99 %.
double with_a_small_layer(const ReproduceContext& context, const std::vector<Model>& dense, const std::string& min_keep_percent) {
  double accuracy = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Model model = copy_of(dense[seed]);
    shrink_second_layer(model.graph);
    const Method& method = find_method("24-global-mp");
    PruneJob job(method, model, {}, {.sparsity = 0.99, .of = "params", .options = {{"min_keep_percent", min_keep_percent}}}, nullptr, 0);
    method.prune(job);
    PictureTraining training = kRetraining;
    training.seed = seed + 100;
    train_on_pictures(context, model, training, {}, job.masks());
    accuracy += percent_right(context, model) / kSeeds;
  }
  return accuracy;
}

Reproduction reproduce(ReproduceContext& context) {
  constexpr double kGradual = 0.98;  // at 90 % even a fixed random mask is as good as the dense network here (15-granet)
  const double dense = 100 * dense_accuracy(context, context.vision_model);
  const AfterTraining after = after_training(context);
  const std::vector<Model> small = trained_convnets(context);
  const WhileTraining during = while_training(context, small, kGradual);
  const double collapsed = with_a_small_layer(context, small, "0"), cured = with_a_small_layer(context, small, "0.05");
  return {"after retraining one global ranking of magnitudes beats the same share of every layer, and both beat random; in steps while the network trains it loses less still, "
          "and a minimum in every layer cures layer collapse",
          fmt::format("top-1, mean of {} seeds. The embedded picture model ({:.1f} % dense) with 90 % of the weights removed, after 100 steps of training under the masks: global "
                      "{:.1f} %, each layer {:.1f} %, random {:.1f} %. A small convolutional network with {:g} % removed, in {} steps: global in steps with a minimum {:.1f} %, each layer "
                      "in steps {:.1f} %, global at once {:.1f} %. The same with one layer of a hundredth of its scale and 99 % removed: {:.1f} % without a minimum, {:.1f} % with one",
                      kSeeds, dense, after.global, after.layer, after.random, 100 * kGradual, kRetraining.steps, during.gradual, during.gradual_layer, during.at_once, collapsed, cured),
          after.global > after.layer && after.layer > after.random && during.gradual > during.gradual_layer && during.gradual > during.at_once && cured > collapsed + 10,
          {{"dense", dense},
           {"global", after.global},
           {"layer", after.layer},
           {"random", after.random},
           {"seeds", after.seeds},
           {"gradual", {{"global", during.gradual}, {"layer", during.gradual_layer}, {"global at once", during.at_once}, {"flops share", during.flops_gradual},
                        {"flops share at once", during.flops_at_once}}},
           {"small layer", {{"no minimum", collapsed}, {"minimum", cured}}}}};
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
                 {"schedule", "text", "oneshot", "oneshot, cubic", "of `train`: all at t0, or in steps along a cubic; of `prune`: oneshot"},
                 {"t0", "text", "0", "steps, epochs (6ep) or a share (0.1)", "of `train`: where pruning begins"},
                 {"t1", "text", "0.75", "the same, from t0 on", "where it ends"},
                 {"interval", "int", "", "> 0", "steps between prunings; empty: a hundredth of the run"},
                 {"include", "text", "", "pattern", "only nodes whose name matches; * stands for any text"},
                 {"exclude", "text", "", "pattern", "not these"}},
     .default_of = "params",
     .of = {},
     .patterns = true,
     .prune = prune,
     .plugin = plugin,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::global_mp_method
