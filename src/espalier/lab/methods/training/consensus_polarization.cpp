// 25 Consensus sub-networks (2023): every residual branch, or every channel of inner convolutions, gets a gate that looks at the
// block's input; a penalty pushes the gates to agree over all inputs, then units whose gate is closed are cut and the gates go.
#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/lab/measure/images.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training/consensus_gates.h"
#include "espalier/lab/methods/training/cut_quality.h"
#include "espalier/lab/methods/training/gated_units.h"
#include "espalier/lab/methods/training/picture_training.h"
#include "espalier/lab/repair/batch_norm.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/trainer.h"

namespace espalier::consensus_polarization_method {
namespace {

constexpr const char* kId = "25-consensus-polarization";
constexpr double kConsensus = 0.95, kOvershoot = 0.02;
constexpr int64_t kLeastBatch = 8;

enum class Noise { kNone, kGumbel, kNormal };

struct GateSettings {
  bool channels = false, soft_mean = false, force_target = false;
  GateWeights weights;
  int64_t hidden = 0, samples = 10000, norm_batches = 100;
  Noise noise = Noise::kNone;
  double threshold = 0.5;
};

class ConsensusPlugin : public Plugin {
 public:
  explicit ConsensusPlugin(GateSettings settings) : settings_(std::move(settings)) {}

  std::string id() const override { return kId; }

  void before_training(Training& training) override {
    const Graph& graph = training.graph();
    const std::vector<Shape> shapes = {training.task().batch(0, 0).inputs.sizes().vec()};
    if (shapes[0][0] < 2) throw UserError(kId, "batch", "at least 2: of one input there is nothing to agree on", fmt::format("{}", shapes[0][0]));
    if (shapes[0][0] < kLeastBatch) warn("{}: batches of {} say little about agreement; {} or more do", kId, shapes[0][0], kLeastBatch);
    coupling_ = find_coupling(graph);
    sites_ = settings_.channels ? find_gated_channels(graph, shapes, coupling_) : find_gated_branches(graph, shapes);
    if (sites_.empty())
      user_error("{}: the model has {}", kId, settings_.channels ? "no convolution with a batch norm whose channels are its own (unit=layer gates residual branches)"
                                                                 : "no residual branches that can be gated (unit=channel gates channels)");
    std::vector<at::Tensor> costs;
    for (size_t s = 0; s < sites_.size(); ++s) {
      const GateModule gates = make_gates(sites_[s].channels, sites_[s].gates, settings_.hidden, training.rng("gates/" + sites_[s].name));
      const auto leaves = gates.leaves();
      for (size_t l = 0; l < leaves.size(); ++l) training.add_trained(leaf_name(s, l), leaves[l]);
      costs.push_back(at::full({sites_[s].gates}, sites_[s].cost, at::kFloat));
    }
    cost_ = at::cat(costs);
    hard_.resize(sites_.size());
    used_.resize(sites_.size());
    observer_ = gating_observer(sites_, [this, &training](size_t s, const at::Tensor& input) { return gates_of(training, s, input, true); });
    quiet_ = gating_observer(sites_, [this, &training](size_t s, const at::Tensor& input) { return gates_of(training, s, input, false); });
  }

  const Observer* observer() override { return &observer_; }
  const Observer* lasting_observer() override { return &quiet_; }

  at::Tensor extra_loss(Training& training) override {
    GateWeights weights = settings_.weights;
    weights.polar *= ramp(training);
    const GatePenalties penalties = gate_penalties(at::cat(used_, 1), cost_, weights);
    const at::Tensor mean = at::cat(hard_, 1).detach().mean(0);
    if (training.step() % training.options().report_every == 0 || training.step() + 1 == training.steps()) {
      const GateChoice choice = choose_by_gates(mean, settings_.threshold);
      training.record("gates/polar", choice.polar);
      training.record("gates/consensus", choice.consensus);
      training.record("gates/cost share", penalties.cost_share.item<double>());
      training.record("gates/undecided", (mean > 0.1).logical_and(mean < 0.9).sum().item<double>());
    }
    return penalties.total;
  }

  void end(Training& training) override {
    at::NoGradGuard no_gradients;
    measure(training);
    choose();
    record_cut_quality(training, [&](Model& model) { carry_out(model); }, true);
    training.record("gates/polar", choice_.polar);
    training.record("gates/consensus", choice_.consensus);
    training.record("gates/cost share", kept_share());
  }

  void finish(Model& model) override {
    carry_out(model);
    norm_inputs_.clear();
  }

  Json findings() const override {
    Json units = Json::array();
    int64_t at = 0;
    for (const auto& site : sites_)
      for (int64_t g = 0; g < site.gates; ++g, ++at) {
        Json unit = {{"unit", site.name}, {"gate", mean_[at].item<double>()}, {"kept", choice_.kept[at].item<bool>()}, {"multiply-adds", site.cost}};
        if (site.gates > 1) unit["channel"] = g;
        units.push_back(unit);
      }
    return {{"units", units}, {"polar", choice_.polar}, {"consensus", choice_.consensus}, {"cost share", kept_share()}};
  }

 private:
  void carry_out(Model& model) const {
    std::vector<at::Tensor> keep;
    int64_t at = 0;
    for (const auto& site : sites_) {
      keep.push_back(choice_.kept.narrow(0, at, site.gates));
      at += site.gates;
    }
    cut_gated_units(model, sites_, keep, coupling_);
    if (!norm_inputs_.empty() && has_batch_statistics(model.graph)) reestimate_batch_norm(model.graph, norm_inputs_);
  }

  std::string leaf_name(size_t site, size_t leaf) const {
    static const char* const kNames[] = {"w1", "b1", "w2", "b2"};
    return fmt::format("gates/{}/{}", sites_[site].name, kNames[leaf]);
  }

  // Units are to be trained before they must agree.
  static double ramp(const Training& training) {
    return std::min(1.0, 3 * static_cast<double>(training.step()) / static_cast<double>(std::max<int64_t>(1, training.steps())));
  }

  at::Tensor gates_of(Training& training, size_t s, const at::Tensor& input, bool in_training) {
    const GateModule module{training.value(leaf_name(s, 0)), training.value(leaf_name(s, 1)), training.value(leaf_name(s, 2)), training.value(leaf_name(s, 3))};
    at::Tensor logits = gate_logits(module, pooled_input(input));
    if (in_training && settings_.noise != Noise::kNone) logits = logits + noise(training, s, logits.sizes());
    hard_[s] = hard_gates(logits);
    used_[s] = settings_.soft_mean ? logits.sigmoid() : hard_[s];
    return hard_[s];
  }

  // The difference of two Gumbel variables is logistic.
  at::Tensor noise(const Training& training, size_t s, at::IntArrayRef shape) const {
    Rng rng = training.rng("gates/noise/" + sites_[s].name);
    at::Tensor values = at::empty(shape, at::kFloat);
    for (int64_t i = 0; i < values.numel(); ++i) {
      const double u = std::max(1e-12, rng.uniform());
      values.data_ptr<float>()[i] = static_cast<float>(settings_.noise == Noise::kNormal ? rng.normal() : portable_log(u) - portable_log(std::max(1e-12, 1 - u)));
    }
    return values;
  }

  // Mean gates over the training data as the trained network gives them, without noise.
  void measure(Training& training) {
    const Graph graph = training.result();
    Weights weights(graph);
    const Interpreter interpreter(graph, weights);
    at::Tensor sum = at::zeros({cost_.numel()}, at::kDouble);
    int64_t seen = 0;
    norm_inputs_.clear();
    const int64_t batches = training.task().batches_an_epoch();
    for (int64_t b = 0; b < batches && (seen < settings_.samples || b < settings_.norm_batches); ++b) {
      const at::Tensor inputs = training.task().batch(b, 0).inputs;
      if (b < settings_.norm_batches && inputs.is_floating_point()) norm_inputs_.push_back(inputs);
      if (seen >= settings_.samples) continue;
      interpreter.forward(inputs, &quiet_);
      sum += at::cat(hard_, 1).to(at::kDouble).sum(0);
      seen += inputs.size(0);
    }
    mean_ = sum / static_cast<double>(seen);
  }

  double kept_share() const { return (choice_.kept * cost_).sum().item<double>() / cost_.sum().item<double>(); }

  void choose() {
    choice_ = choose_by_gates(mean_, settings_.threshold);
    if (choice_.consensus < kConsensus) warn("{}: inputs agree to {:.3f} only; what is cut then acts otherwise than the gates did (a larger lambda_polar, or more steps)", kId, choice_.consensus);
    if (settings_.force_target) cut_to_target();
    keep_one_a_stage();
    if (choice_.kept.all().item<bool>()) warn("{}: every gate is open, so nothing is cut", kId);
  }

  // Greatest gate for its cost stays longest.
  void cut_to_target() {
    const at::Tensor worth = mean_ / cost_;
    const at::Tensor order = std::get<1>(worth.sort(/*stable=*/true, 0, false));
    for (int64_t i = 0; i < order.numel() && kept_share() > settings_.weights.target + kOvershoot; ++i) choice_.kept[order[i]] = false;
  }

  void keep_one_a_stage() {
    std::map<int64_t, std::pair<bool, int64_t>> stages;  // whether anything stays, and the best gate
    int64_t at = 0;
    for (const auto& site : sites_)
      for (int64_t g = 0; g < site.gates; ++g, ++at) {
        auto [stage, fresh] = stages.try_emplace(site.stage, false, at);
        stage->second.first = stage->second.first || choice_.kept[at].item<bool>();
        if (mean_[at].item<double>() > mean_[stage->second.second].item<double>()) stage->second.second = at;
      }
    for (const auto& [number, stage] : stages) {
      if (stage.first) continue;
      choice_.kept[stage.second] = true;
      warn("{}: all gates of a stage are closed; the most open one stays", kId);
    }
  }

  GateSettings settings_;
  Coupling coupling_;
  std::vector<GatedSite> sites_;
  at::Tensor cost_, mean_;
  std::vector<at::Tensor> hard_, used_;  // of the last forward, a site each
  Observer observer_, quiet_;  // quiet: without noise
  GateChoice choice_;
  std::vector<at::Tensor> norm_inputs_;
};

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  const OptionValues& options = request.options;
  GateSettings settings;
  settings.channels = options.word("unit", {"layer", "channel"}) == "channel";
  settings.weights = {options.real("lambda_polar", 0, 1e6), options.real("lambda_act", 0, 1e6), options.real("lambda_budget", 0, 1e6), options.real("target", 0, 1)};
  if (!(settings.weights.target > 0 && settings.weights.target < 1)) throw UserError(kId, "option target", "a share between 0 and 1", options.text("target"));
  settings.hidden = options.has("hidden") ? options.integer("hidden", 1, 65536) : 0;
  const std::string noise = options.word("noise", {"none", "gumbel", "normal"});
  settings.noise = noise == "none" ? Noise::kNone : noise == "gumbel" ? Noise::kGumbel : Noise::kNormal;
  settings.threshold = options.real("threshold", 0, 1);
  settings.soft_mean = options.word("mean", {"hard", "soft"}) == "soft";
  settings.force_target = options.flag("force_target");
  settings.samples = options.integer("calibration", 1, int64_t{1} << 40);
  settings.norm_batches = options.integer("norm_batches", 0, 1 << 20);
  return std::make_unique<ConsensusPlugin>(settings);
}

// Twenty layers of 8, 16 and 32 channels; 168 channels inside the blocks can be gated.
Model small_resnet(uint64_t seed) {
  Model model;
  model.config = {{"model_type", "resnet-cifar"}, {"layers", {3, 3, 3}}, {"widths", {8, 16, 32}}, {"num_channels", 1}, {"image_size", 28}, {"num_classes", 10}};
  model.family = &find_family("resnet-cifar", kId);
  model.graph = model.family->fresh(model.config, seed, kId);
  model.task = Task::kImages;
  model.classes = 10;
  model.image = {.channels = 1, .height = 28, .width = 28, .mean = {0.286}, .std = {0.353}};
  model.example_inputs = {{1, 1, 28, 28}};
  model.input_dtypes = {DType::kF32};
  return model;
}

GateSettings half(double lambda_polar) {
  GateSettings settings;
  settings.channels = true;  // seven branches could not come near a half of the cost
  settings.weights.polar = lambda_polar;
  settings.norm_batches = 20;
  return settings;
}

constexpr PictureTraining kFiveEpochs{.steps = 230, .learning_rate = 0.1, .weight_decay = 1e-4};

struct Outcome {
  double accuracy = 0;
  Json findings;
};

Outcome with_gates(const ReproduceContext& context, uint64_t seed, double lambda_polar) {
  Model model = small_resnet(seed);
  PictureTraining training = kFiveEpochs;
  training.seed = seed;
  Plugins plugins;
  plugins.push_back(std::make_unique<ConsensusPlugin>(half(lambda_polar)));
  const Json findings = train_on_pictures(context, model, training, std::move(plugins));
  return {percent_right(context, model), findings.at(kId)};
}

// Random channels less from the start, until no more than this share of their cost is left; every layer keeps one.
double random_cut(const ReproduceContext& context, uint64_t seed, double share) {
  Model model = small_resnet(seed);
  const Coupling coupling = find_coupling(model.graph);
  const auto sites = find_gated_channels(model.graph, {{2, 1, 28, 28}}, coupling);
  std::vector<std::pair<size_t, int64_t>> units;
  std::vector<at::Tensor> keep;
  double all = 0;
  for (size_t s = 0; s < sites.size(); ++s) {
    keep.push_back(at::ones({sites[s].gates}, at::kBool));
    all += sites[s].cost * static_cast<double>(sites[s].gates);
    for (int64_t g = 1; g < sites[s].gates; ++g) units.emplace_back(s, g);
  }
  double left = all;
  for (int64_t u : Rng(seed, "25/random cut").sample(std::ssize(units), std::ssize(units))) {
    if (left <= share * all) break;
    const auto [site, channel] = units[static_cast<size_t>(u)];
    keep[site][channel] = false;
    left -= sites[site].cost;
  }
  cut_gated_units(model, sites, keep, coupling);
  PictureTraining training = kFiveEpochs;
  training.seed = seed;
  train_on_pictures(context, model, training);
  return percent_right(context, model);
}

Reproduction reproduce(ReproduceContext& context) {
  constexpr uint64_t kSeeds = 2;
  double accuracy = 0, random = 0, polar = 0, consensus = 0, loose = 0, share = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Outcome ours = with_gates(context, seed, 1), without = with_gates(context, seed, 0);
    const double left = ours.findings.at("cost share").get<double>();
    accuracy += ours.accuracy / kSeeds;
    random += random_cut(context, seed, left) / kSeeds;
    polar += ours.findings.at("polar").get<double>() / kSeeds;
    consensus += ours.findings.at("consensus").get<double>() / kSeeds;
    loose += without.findings.at("consensus").get<double>() / kSeeds;
    share += left / kSeeds;
  }
  return {"a penalty polarises the gates, so that all inputs agree on a sub-network, which loses little when the rest is cut without fine-tuning",
          fmt::format("a small ResNet on the embedded pictures, five epochs, target half of the gated channels' multiply-adds, mean of {} seeds: inputs agree to {:.3f} "
                      "(penalty left: {:.4f}), without the penalty to {:.3f}; {:.2f} of the cost kept; top-1 after the cut {:.1f} %, random channels of the "
                      "same cost cut before the training {:.1f} %",
                      kSeeds, consensus, polar, loose, share, accuracy, random),
          consensus > 0.97 && polar < 0.02 && loose < consensus && std::abs(share - 0.5) <= 0.05 && accuracy > random,
          {{"consensus", consensus}, {"polar", polar}, {"consensus without", loose}, {"cost share", share}, {"accuracy", accuracy}, {"random", random}}};
}

const RegisterMethod registered(
    {.id = kId,
     .name = "Consensus polarization gates",
     .year = 2023,
     .kind = "Plugin",
     .taxonomy = {{"channel", "layer"}, "universal", {"during"}, "labelled", "gates", "polarised binary gates", "global", "iterative", "full", "", {"cnn", "vit"}},
     .needs = {"data", "gradients", "training"},
     .options = {{"unit", "text", "layer", "layer, channel", "residual branches, or channels of inner convolutions"},
                 {"target", "real", "0.5", "(0, 1)", "share of the gated units' multiply-adds that stays"},
                 {"lambda_polar", "real", "1", "from 0", "weight of the disagreement; grows from 0 over the first third of the training"},
                 {"lambda_act", "real", "0", "from 0", "weight of the mean gate"},
                 {"lambda_budget", "real", "5", "from 0", "weight of the squared distance from the target"},
                 {"hidden", "int", "", "> 0", "width of the gates' hidden layer; empty: a quarter of the channels, at least 4"},
                 {"noise", "text", "none", "none, gumbel, normal", "added to the gates' logits in training"},
                 {"mean", "text", "hard", "hard, soft", "which gates the penalties average"},
                 {"threshold", "real", "0.5", "0 to 1", "units whose mean gate is above it stay"},
                 {"force_target", "flag", "false", "true, false", "cut on to the target, the least open for their cost first"},
                 {"calibration", "int", "10000", "> 0", "training inputs that the mean gates are taken of"},
                 {"norm_batches", "int", "100", "from 0", "batches from which batch norms take their statistics anew after the cut"}},
     .default_of = "params",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce,
     .reproduces = false});

}  // namespace
}  // namespace espalier::consensus_polarization_method
