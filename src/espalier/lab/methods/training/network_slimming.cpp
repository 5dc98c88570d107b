// Baseline: network slimming (2017), an L1 penalty on all batch-norm scales while the network is trained, then one ranking of
// all scales decides which channels go.
#include "espalier/core/error.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training/picture_training.h"
#include "espalier/lab/methods/training/scale_pruning.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/small_networks.h"

namespace espalier::network_slimming_method {
namespace {

constexpr const char* kId = "network-slimming";

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  if (!request.sparsity) user_error("{}: --sparsity: missing: what share of the channels shall go?", kId);
  ScalePruning settings{.id = kId, .source = ScalePruning::Source::kEnd, .share = request.sparsity};
  settings.strength = request.options.real("s", 0, 1e6);
  settings.shared = request.options.flag("stages");
  return make_scale_pruning(std::move(settings));
}

double straight_after(const ReproduceContext& context, uint64_t seed, double strength) {
  Model model = small_convnet(seed);
  Plugins plugins;
  plugins.push_back(make_scale_pruning({.id = kId, .source = ScalePruning::Source::kEnd, .strength = strength, .share = 0.5}));
  train_on_pictures(context, model, {.steps = 460, .learning_rate = 0.1, .seed = seed}, std::move(plugins));
  return percent_right(context, model);
}

Reproduction reproduce(ReproduceContext& context) {
  constexpr uint64_t kSeeds = 3;
  double ours = 0, none = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    ours += straight_after(context, seed, 0.01) / kSeeds;
    none += straight_after(context, seed, 0) / kSeeds;
  }
  return {"a penalty on the scales during training makes the channels with small ones expendable",
          fmt::format("half of the channels of a small convolutional network on the embedded pictures, straight after the cut, mean of {} seeds: top-1 {:.1f} %, "
                      "without the penalty {:.1f} %",
                      kSeeds, ours, none),
          ours > none, {{"ours", ours}, {"none", none}}};
}

const RegisterMethod registered(
    {.id = kId,
     .name = "Network slimming",
     .year = 2017,
     .kind = "Plugin",
     .taxonomy = {{"channel"}, "universal", {"during"}, "labelled", "norm scale", "L1 on norm scales", "global", "one-shot", "full", "", {"cnn"}},
     .needs = {"data", "gradients", "training"},
     .options = {{"s", "real", "1e-4", "from 0", "strength of the penalty"},
                 {"stages", "flag", "false", "true, false", "also channels that several layers produce, by vote"}},
     .default_of = "params",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::network_slimming_method
