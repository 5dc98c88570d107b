// 33 MaskSparsity (2021): a short training under a penalty on all batch-norm scales says which channels can go; then the
// training begins anew from the dense weights with the penalty on those channels alone, and they are cut.
#include "espalier/core/error.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training/picture_training.h"
#include "espalier/lab/methods/training/scale_pruning.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/small_networks.h"

namespace espalier::mask_sparsity_method {
namespace {

using Source = ScalePruning::Source;

constexpr const char* kId = "33-masksparsity";

// {"norm": [true, false, …]}, true: kept; also as findings.json has it, under "keep".
KeepByNorm read_mask(const std::string& file) {
  Json json = read_json(file);
  if (json.is_object() && json.contains(kId)) json = json.at(kId);
  if (json.is_object() && json.contains("keep")) json = json.at("keep");
  if (!json.is_object()) throw UserError(file, "mask", "an object of norms with their channels", describe(json));
  KeepByNorm keep;
  for (const auto& [name, flags] : json.items()) {
    const bool valid = flags.is_array() && std::all_of(flags.begin(), flags.end(), [](const Json& flag) { return flag.is_boolean(); });
    if (!valid) throw UserError(file, printable(name), "a list of true and false", describe(flags));
    keep[name] = flags.get<std::vector<bool>>();
  }
  return keep;
}

ScalePruning settings_of(const PluginRequest& request) {
  const OptionValues& options = request.options;
  ScalePruning settings{.id = kId};
  settings.strength = options.real("s", 0, 1e6);
  settings.run_strength = options.has("s_run") ? options.real("s_run", 0, 1e6) : settings.strength;
  settings.threshold = options.real("threshold", 0, 1e6);
  settings.energy = options.word("threshold_rule", {"fixed", "energy"}) == "energy";
  settings.least = options.integer("min_channels", 1, int64_t{1} << 30);
  settings.shared = options.flag("stages");
  settings.cut_as_masked = options.word("cut", {"threshold", "mask"}) == "mask";
  settings.fold = options.flag("fold");
  settings.share = request.sparsity;
  const std::string penalty = options.word("penalty", {"l1", "l2", "smooth_l1"});
  settings.penalty = penalty == "l1" ? ScalePenalty::kL1 : penalty == "l2" ? ScalePenalty::kL2 : ScalePenalty::kSmoothL1;
  const std::string from = options.word("mask_from", {"run", "uniform", "magnitude"});
  settings.source = from == "run" ? Source::kRun : from == "uniform" ? Source::kUniform : Source::kMagnitude;
  if (from != "run" && !request.sparsity) user_error("{}: mask_from={} needs --sparsity, the share of the channels that go", kId, from);
  if (options.has("mask")) {
    if (request.sparsity) user_error("{}: option mask says which channels go; leave --sparsity out", kId);
    settings.source = Source::kGiven;
    settings.given = read_mask(options.text("mask"));
  }
  return settings;
}

std::unique_ptr<Plugin> plugin(const PluginRequest& request) { return make_scale_pruning(settings_of(request)); }

// Accuracy of the cut network straight after the cut, percent, and the plugin's findings.
struct Cut {
  double accuracy = 0;
  Json findings;
};

Cut cut_after(const ReproduceContext& context, const Model& dense, const PictureTraining& training, ScalePruning settings) {
  Model model = copy_of(dense);
  Plugins plugins;
  plugins.push_back(make_scale_pruning(std::move(settings)));
  const Json findings = train_on_pictures(context, model, training, std::move(plugins));
  return {percent_right(context, model), findings.at(kId)};
}

// Percent, mean of the seeds.
struct Means {
  double dense = 0;
  double masked = 0, global = 0, plain = 0;                       // straight after the cut
  double masked_folded = 0, global_folded = 0, plain_folded = 0;  // with the biases of what is cut folded on
  double kept = 0, pruned = 0;                          // scales: mean of the kept over the dense one's, largest of the pruned
};

constexpr uint64_t kSeeds = 3;

void add_seed(const ReproduceContext& context, uint64_t seed, Means& mean) {
  Model model = small_convnet(seed);
  train_on_pictures(context, model, {.steps = 460, .learning_rate = 0.1, .seed = seed});
  mean.dense += percent_right(context, model) / kSeeds;
  const PictureTraining again{.steps = 460, .learning_rate = 0.05, .weight_decay = 1e-4, .seed = seed + 100};
  const auto accuracy_after = [&](ScalePruning settings, bool fold) {
    settings.fold = fold;
    return cut_after(context, model, again, std::move(settings)).accuracy / kSeeds;
  };
  ScalePruning settings{.id = kId, .strength = 0.1, .run_strength = 0.1, .share = 0.5};
  const Cut ours = cut_after(context, model, again, settings);
  mean.masked += ours.accuracy / kSeeds;
  const Json& scales = ours.findings.at("mean scale of kept channels");
  mean.kept += scales.at("after").get<double>() / scales.at("before").get<double>() / kSeeds;
  mean.pruned = std::max(mean.pruned, ours.findings.at("largest scale of pruned channels").get<double>());
  settings.source = Source::kGiven, settings.share.reset(), settings.cut_as_masked = true;
  for (const auto& [norm, flags] : ours.findings.at("keep").items()) settings.given[norm] = flags.get<std::vector<bool>>();
  mean.masked_folded += accuracy_after(settings, true);
  settings.penalise_all = true;
  mean.global += accuracy_after(settings, false);
  mean.global_folded += accuracy_after(settings, true);
  const ScalePruning none{.id = kId, .source = Source::kEnd, .strength = 0, .share = 0.5};
  mean.plain += accuracy_after(none, false);
  mean.plain_folded += accuracy_after(none, true);
}

Reproduction reproduce(ReproduceContext& context) {
  Means mean;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) add_seed(context, seed, mean);
  return {"a penalty on the channels alone that will go leaves the others as they are, so the cut loses less than after a penalty on all scales, or after none",
          fmt::format("half of the channels of a small convolutional network on the embedded pictures, straight after a cut that drops biases (that folds them), mean of "
                      "{} seeds: top-1 {:.1f} % ({:.1f} %) masked, {:.1f} % ({:.1f} %) with all scales penalised and the same channels cut, {:.1f} % ({:.1f} %) without a penalty by the scales; dense {:.1f} %; mean "
                      "scale of kept channels {:.0f} % of the dense one's, largest of pruned ones {:.4f}",
                      kSeeds, mean.masked, mean.masked_folded, mean.global, mean.global_folded, mean.plain, mean.plain_folded, mean.dense, 100 * mean.kept, mean.pruned),
          mean.masked > mean.global && mean.global > mean.plain,
          {{"dense", mean.dense}, {"masked", mean.masked}, {"masked folded", mean.masked_folded}, {"global", mean.global}, {"global folded", mean.global_folded},
           {"plain", mean.plain}, {"plain folded", mean.plain_folded}, {"kept scales", mean.kept}, {"pruned scales", mean.pruned}}};
}

const RegisterMethod registered(
    {.id = kId,
     .name = "MaskSparsity",
     .year = 2021,
     .kind = "Plugin",
     .taxonomy = {{"channel"}, "universal", {"during"}, "labelled", "norm scale", "masked regularisation", "global", "one-shot", "full", "", {"cnn"}},
     .needs = {"data", "gradients", "training"},
     .options = {{"s", "real", "5e-4", "from 0", "strength of the penalty"},
                 {"s_run", "real", "", "from 0", "that of the first training, which finds the mask; empty: the same"},
                 {"penalty", "text", "l1", "l1, l2, smooth_l1", "form of the penalty"},
                 {"mask_from", "text", "run", "run, uniform, magnitude", "a training under a penalty on all scales; or, with --sparsity, the smallest scales of every layer, or of all, at the start"},
                 {"mask", "text", "", "file", "JSON {\"norm\": [true, false, …]} of kept channels, instead"},
                 {"threshold", "real", "0.01", "from 0", "scales above it stay; with --sparsity exactly that share of the channels goes instead"},
                 {"threshold_rule", "text", "fixed", "fixed, energy", "energy: each layer's own, below which lie 1e-4 of its squared scales"},
                 {"min_channels", "int", "1", "> 0", "that every layer keeps"},
                 {"stages", "flag", "false", "true, false", "also channels that several layers produce, by vote"},
                 {"cut", "text", "threshold", "threshold, mask", "at the end: what the trained scales say, or the mask"},
                 {"fold", "flag", "false", "true, false", "biases of the channels that are cut go on into what read them"}},
     .default_of = "params",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce,
     .reproduces = false});

}  // namespace
}  // namespace espalier::mask_sparsity_method
