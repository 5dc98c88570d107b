// 15 GraNet (2021): gradual magnitude pruning, and at every pruning step a swap: the smallest survivors die, as many weights
// grow where the gradient is largest.
#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training/granet_schedule.h"
#include "espalier/lab/methods/training/pruning_plasticity.h"
#include "espalier/lab/methods/training_arm.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/dynamic_sparse.h"
#include "espalier/lab/training/small_networks.h"
#include "espalier/lab/training/step_place.h"

namespace espalier::granet_method {
namespace {

constexpr const char* kId = "15-granet";
// The paper swaps every 1,000 of CIFAR's 62,500 steps; what has grown needs some steps before it is judged.
constexpr int64_t kUnits = 64, kLeastInterval = 50;

GraNetSchedule schedule_of(const PluginRequest& request) {
  const OptionValues& options = request.options;
  const auto place = [&](const std::string& name) { return step_place(fmt::format("{}: option {}", kId, name), options.text(name), request.steps, request.steps_an_epoch); };
  GraNetSchedule schedule;
  schedule.interval = options.has("interval") ? options.integer("interval", 1, int64_t{1} << 40) : std::max(std::min(kLeastInterval, request.steps), request.steps / kUnits);
  schedule.t0 = place("t0");
  schedule.t1 = place("t1");
  schedule.initial_sparsity = options.real("init_sparsity", 0, 1);
  schedule.final_sparsity = options.has("final_sparsity") ? options.real("final_sparsity", 0, 1) : request.sparsity.value_or(0.9);
  if (options.has("final_sparsity") && request.sparsity && *request.sparsity != schedule.final_sparsity)
    user_error("{}: --sparsity {:g} and option final_sparsity {:g} contradict each other", kId, *request.sparsity, schedule.final_sparsity);
  schedule.finish_exactly = options.flag("finish_exactly");
  check_granet_schedule(schedule);
  if (schedule.last_prune() > request.steps)
    throw UserError(kId, "option t1", fmt::format("a last pruning within the run's {} steps", request.steps),
                    fmt::format("step {} (interval {})", schedule.last_prune(), schedule.interval));
  return schedule;
}

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  const OptionValues& options = request.options;
  const GraNetSchedule schedule = schedule_of(request);
  DynamicSparse settings{.id = kId, .start_density = 1 - schedule.initial_sparsity, .exclude = options.text("exclude")};
  settings.prune_to = [schedule](int64_t done) { return schedule.prune_to(done); };
  settings.scope = prune_scope_of(fmt::format("{}: option scope", kId), options.text("scope"));
  const double high = options.real("swap_rate", 0, 1), low = options.real("swap_min", 0, 1);
  if (low > high && high > 0) throw UserError(kId, "option swap_min", fmt::format("at most swap_rate, {:g}", high), fmt::format("{:g}", low));
  if (high > 0)
    settings.swaps = SwapPlan{.interval = schedule.interval, .start = schedule.t0, .end = request.steps, .high = high, .low = low, .total = request.steps,
                              .growth = growth_of(fmt::format("{}: option growth", kId), options.text("growth"))};
  return make_dynamic_sparse(std::move(settings));
}

constexpr int64_t kSteps = 690;  // 15 epochs

struct Outcome {
  double accuracy = 0, flops = 0;
  Json seeds = Json::array();
};

Outcome train_seeds(const ReproduceContext& context, const std::string& method, const std::map<std::string, std::string>& options, std::optional<double> sparsity) {
  constexpr uint64_t kSeeds = 3;
  Outcome outcome;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Model model = small_convnet(seed);
    const TrainingArm arm = training_arm(context, model, {.method = method, .options = options, .sparsity = sparsity, .steps = kSteps, .seed = seed});
    outcome.accuracy += 100 * arm.accuracy / kSeeds;
    outcome.flops += (arm.findings.is_null() ? 1 : arm.findings.at("training flops share").get<double>()) / kSeeds;
    outcome.seeds.push_back(arm.accuracy);
  }
  return outcome;
}

Reproduction reproduce(ReproduceContext& context) {
  constexpr double kSparsity = 0.98;  // at 90 % a fixed random mask is as good as the dense network here
  const Outcome ours = train_seeds(context, kId, {{"init_sparsity", "0.5"}}, kSparsity);
  const Outcome gradual = train_seeds(context, kId, {{"init_sparsity", "0"}, {"swap_rate", "0"}}, kSparsity);
  const Outcome fixed = train_seeds(context, "static-sparse", {}, kSparsity);
  const PlasticityPair plasticity = mean_plasticity(context, 0.5);
  return {"sparse training that prunes gradually and regrows where gradients are large matches pruning from dense without its cost, and networks recover better "
          "from a pruning that regrows",
          fmt::format("98 % of a small convolutional network's weights, {} steps, mean of 3 seeds: GraNet from 50 % {:.1f} % top-1 at {:.2f} of the dense training's FLOPs, gradual "
                      "pruning without swaps {:.1f} % at {:.2f}, a fixed random ERK mask {:.1f} %; half the weights removed in the middle of a training: accuracy then changes by "
                      "{:+.1f} points with regrowth, by {:+.1f} without",
                      kSteps, ours.accuracy, ours.flops, gradual.accuracy, gradual.flops, fixed.accuracy, plasticity.regrown, plasticity.pruned),
          ours.accuracy > fixed.accuracy && ours.accuracy >= gradual.accuracy - 0.3 && ours.flops < 0.75 && plasticity.regrown >= plasticity.pruned,
          {{"granet", ours.seeds},
           {"gradual", gradual.seeds},
           {"static", fixed.seeds},
           {"flops", {ours.flops, gradual.flops, fixed.flops}},
           {"plasticity", {{"regrown", plasticity.regrown}, {"pruned", plasticity.pruned}}}}};
}

const RegisterMethod registered(
    {.id = kId,
     .name = "GraNet",
     .year = 2021,
     .kind = "Plugin",
     .taxonomy = {{"weight"}, "specific", {"during"}, "labelled", "magnitude + gradient regrowth", "dynamic sparse training", "global", "iterative", "full", "", {"cnn", "vit", "llm"}},
     .needs = {"data", "gradients", "training"},
     .options = {{"init_sparsity", "real", "0.5", "[0, 1)", "share removed at the start, by random masks of ERK's densities; 0: dense"},
                 {"final_sparsity", "real", "", "[0, 1)", "at the end; empty: --sparsity, else 0.9"},
                 {"t0", "text", "0", "steps, epochs (6ep) or a share (0.1)", "where pruning begins"},
                 {"t1", "text", "0.6875", "the same, after t0", "where it ends"},
                 {"interval", "int", "", "> 0", "steps between prunings and swaps; empty: a 64th of the run, at least 50"},
                 {"swap_rate", "real", "0.5", "0 to 1", "share of a layer's weights that is swapped at first; 0: gradual pruning alone"},
                 {"swap_min", "real", "0.005", "0 to swap_rate", "at the end of the run, along a cosine"},
                 {"growth", "text", "gradient", "gradient, random, momentum", "where weights grow"},
                 {"scope", "text", "global", "global, uniform", "one ranking, or every layer the same share"},
                 {"finish_exactly", "flag", "true", "true, false", "a last pruning to final_sparsity, which the released code stops short of"},
                 {"exclude", "text", "", "patterns with ; between", "weights that stay dense"}},
     .default_of = "params",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce,
     .reproduces = false});

}  // namespace
}  // namespace espalier::granet_method
