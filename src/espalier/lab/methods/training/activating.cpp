// 41 AP, Activate-while-Pruning (2022): each round of iterative pruning spends a small part of its budget on weights that
// hold rectified units down.
#include "espalier/lab/criteria/activating.h"

#include <algorithm>

#include "espalier/core/choice.h"
#include "espalier/core/log.h"
#include "espalier/lab/criteria/lamp.h"
#include "espalier/lab/measure/dead_unit_probe.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training_arm.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/kept_states.h"
#include "espalier/lab/training/loss_slopes.h"
#include "espalier/lab/training/prunable.h"
#include "espalier/lab/training/small_networks.h"
#include "espalier/lab/training/step_place.h"
#include "espalier/lab/training/training_task.h"

namespace espalier::activating_method {
namespace {

constexpr const char* kId = "41-activating-while-pruning";
constexpr int64_t kGradientBatches = 8;  // of the base pruner by gradients

enum class Base { kMagnitude, kGradient, kLamp, kRandom };
constexpr std::pair<const char*, Base> kBases[] = {{"magnitude", Base::kMagnitude}, {"gradient", Base::kGradient}, {"lamp", Base::kLamp}, {"random", Base::kRandom}};

struct Settings {
  double percent = 20, ap_percent = 2;
  int64_t rounds = 25, rewind = 0;
  Base base = Base::kMagnitude;
  ActivatingChoice choice;
  int64_t dnr_every = 1, dnr_samples = 2048;
  std::string exclude;
};

class Activating : public Plugin, public DecidesMasks {
 public:
  explicit Activating(Settings settings) : settings_(std::move(settings)), states_(kId, settings_.rewind) {}

  std::string id() const override { return kId; }
  std::string refuses(const Plugin& other) const override { return refuses_other_masks(other); }

  void before_training(Training& training) override {
    weights_ = PrunableWeights(training, settings_.exclude, kId);
    masks_ = weights_.masks(training);
    probe_ = std::make_unique<DeadUnitProbe>(training.graph(), kId);
  }
  void on_batch(Training& training, TrainingBatch&) override { states_.before_step(training); }
  void after_step(Training& training) override { states_.after_step(training); }
  void epoch_end(Training& training) override {
    const int64_t epoch = (training.step() + 1) / training.steps_an_epoch();
    if (settings_.dnr_every > 0 && epoch % settings_.dnr_every == 0 && training.step() + 1 < training.steps()) record_dead(training);
  }

  bool goes_on(Training& training) override {
    note(training);
    if (round_ == settings_.rounds) return false;
    prune(training);
    ++round_;
    weights_.set_masks(training, masks_);
    training.restore(states_.early(), true);
    return true;
  }

  Json findings() const override { return {{"rounds", rows_}, {"layers", density_table(weights_.names(), masks_)}}; }

  void save(StateStore& state) const override {
    states_.save(state);
    put_tensors(state, "mask", masks_);
    state.values["round"] = round_;
    state.values["rows"] = rows_;
  }
  void load(const StateStore& state) override {
    states_.load(state);
    masks_ = get_tensors(state, "mask");
    round_ = state.values.at("round").get<int64_t>();
    rows_ = state.values.at("rows");
  }

 private:
  DeadRate record_dead(Training& training) {
    std::vector<at::Tensor> batches;
    for (int64_t seen = 0, b = 0; seen < settings_.dnr_samples && b < training.task().batches_an_epoch(); ++b) {
      batches.push_back(training.task().batch(b, 0).inputs);
      seen += batches.back().size(0);
    }
    const DeadRate rate = dead_rate(probe_->count(training.weights(), batches, [&](const std::string& name) { return mask_of(name); }));
    training.record(fmt::format("{}/dead", kId), rate.total);
    training.record(fmt::format("{}/dead static", kId), rate.unfed);
    training.record(fmt::format("{}/dead dynamic", kId), rate.dynamic);
    return rate;
  }

  at::Tensor mask_of(const std::string& name) const {
    const auto& names = weights_.names();
    const auto found = std::find(names.begin(), names.end(), name);
    return found == names.end() ? at::Tensor() : masks_[static_cast<size_t>(found - names.begin())];
  }

  void note(Training& training) {
    const DeadRate rate = record_dead(training);
    const double share = static_cast<double>(alive_count(masks_)) / static_cast<double>(weights_.total());
    training.record(fmt::format("{}/remaining", kId), share);
    Json row = {{"round", round_}, {"remaining", alive_count(masks_)}, {"share", share}, {"loss", training.last_loss()},
                {"dead", rate.total}, {"dead_static", rate.unfed}, {"dead_dynamic", rate.dynamic}, {"dead_layers", rate.layers}};
    row.update(latest_evaluation(training));
    rows_.push_back(std::move(row));
  }

  LayerTensors base_scores(Training& training) const {
    LayerTensors scores = weights_.magnitudes(training);
    if (settings_.base == Base::kGradient) {
      const LayerTensors gradients = loss_gradients(training, weights_.names(), std::min<int64_t>(kGradientBatches, training.task().batches_an_epoch()));
      for (size_t l = 0; l < scores.size(); ++l) scores[l] = scores[l] * gradients[l].abs();
    }
    for (size_t l = 0; l < scores.size(); ++l) {
      if (settings_.base == Base::kLamp) scores[l] = lamp_scores(scores[l], masks_[l]);
      if (settings_.base != Base::kRandom) continue;
      Rng rng = training.rng(fmt::format("{}/base/{}", kId, weights_.names()[l]));
      scores[l] = at::empty(scores[l].sizes(), at::kDouble);
      for (int64_t i = 0; i < scores[l].numel(); ++i) scores[l].data_ptr<double>()[i] = rng.uniform();
    }
    return scores;
  }

  void prune(Training& training) {
    const int64_t alive = alive_count(masks_);
    const int64_t base = percent_of(alive, settings_.percent - settings_.ap_percent), count = percent_of(alive, settings_.ap_percent);
    remove_lowest(base_scores(training), masks_, base, kId);
    // The round's start: the state it went back to, under the masks that it had. Those that the base pruner took count no more.
    const LayerTensors start = masked_weights(states_.early(), weights_.names(), masks_);
    Rng rng = training.rng(fmt::format("{}/random", kId));
    const int64_t removed = remove_holding_down(weights_.values(training), start, masks_, count, settings_.choice, rng, kId);
    if (removed < count) inform("{}: round {} found {} of {} weights to wake units with", kId, round_ + 1, removed, count);
    rows_.back().update({{"removed_base", base}, {"removed_ap", removed}, {"shortfall", count - removed}});
  }

  Settings settings_;
  KeptStates states_;
  PrunableWeights weights_;
  std::unique_ptr<DeadUnitProbe> probe_;
  LayerTensors masks_;
  int64_t round_ = 0;
  Json rows_ = Json::array();
};

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  const OptionValues& options = request.options;
  Settings settings;
  settings.percent = options.real("prune_percent", 0, 100);
  settings.ap_percent = options.real("ap_percent", 0, 100);
  if (!(settings.percent > 0 && settings.percent < 100)) throw UserError(kId, "option prune_percent", "above 0, below 100", options.text("prune_percent"));
  if (settings.ap_percent >= settings.percent)
    throw UserError(kId, "option ap_percent", fmt::format("below prune_percent, {:g}", settings.percent), options.text("ap_percent"));
  settings.rounds = options.integer("rounds", 1, 1000);
  settings.base = choice_from_name(fmt::format("{}: option base", kId), options.text("base"), kBases);
  settings.choice = {activating_sign(fmt::format("{}: option sign", kId), options.text("sign")), activating_metric(fmt::format("{}: option metric", kId), options.text("metric"))};
  const std::string rewind = options.text("rewind");
  settings.rewind = rewind == "init" ? 0 : step_place(fmt::format("{}: option rewind", kId), rewind, request.steps, request.steps_an_epoch);
  settings.dnr_every = options.integer("dnr_every", 0, 1'000'000);
  settings.dnr_samples = options.integer("dnr_samples", 1, int64_t{1} << 40);
  settings.exclude = options.text("exclude");
  if (request.sparsity) user_error("{}: prune_percent of what remains goes in each round, so --sparsity has no meaning here", kId);
  return std::make_unique<Activating>(std::move(settings));
}

struct Rounds {
  double accuracy = 0;          // in the last round, percent, mean of the seeds
  std::vector<double> dynamic;  // in each round, the same
};

Rounds train_rounds(const ReproduceContext& context, const std::map<std::string, std::string>& options) {
  constexpr uint64_t kSeeds = 3;
  Rounds rounds;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Model model = small_mlp({100, 50}, seed);
    const Json rows = training_arm(context, model, {.method = kId, .options = options, .steps = 460, .seed = seed}).findings.at("rounds");
    rounds.dynamic.resize(rows.size());
    for (size_t r = 0; r < rows.size(); ++r) rounds.dynamic[r] += rows[r].at("dead_dynamic").get<double>() / kSeeds;
    rounds.accuracy += 100 * rows.back().at("accuracy").get<double>() / kSeeds;
  }
  return rounds;
}

Reproduction reproduce(ReproduceContext& context) {
  const auto options = [](const std::string& ap, const std::string& sign, const std::string& metric) {
    return std::map<std::string, std::string>{{"rounds", "6"}, {"prune_percent", "40"}, {"ap_percent", ap}, {"sign", sign}, {"metric", metric}, {"dnr_every", "0"}};
  };
  const Rounds with = train_rounds(context, options("4", "negative", "movement")), without = train_rounds(context, options("0", "negative", "movement"));
  const Rounds any = train_rounds(context, options("4", "any", "movement")), random = train_rounds(context, options("4", "negative", "random"));
  size_t lower = 0;
  for (size_t r = 1; r < with.dynamic.size(); ++r) lower += with.dynamic[r] < without.dynamic[r];
  return {"a tenth of each round's budget spent on negative weights that training hardly moved wakes units, and accuracy at high sparsity rises",
          fmt::format("six rounds of a small network with two hidden layers, 40 % of what is left each, mean of 3 seeds: at {:.1f} % of the weights {:.2f} % top-1 with AP, {:.2f} % "
                      "without, {:.2f} % with weights of any sign, {:.2f} % with random negative ones; the dynamic rate of dead units is lower with AP in {} of {} rounds ({:.4f} and "
                      "{:.4f} in the last)",
                      100 * std::pow(0.6, 6), with.accuracy, without.accuracy, any.accuracy, random.accuracy, lower, with.dynamic.size() - 1, with.dynamic.back(), without.dynamic.back()),
          with.accuracy >= without.accuracy - 0.3 && 2 * lower > with.dynamic.size() - 1,
          {{"ap", {{"accuracy", with.accuracy}, {"dynamic", with.dynamic}}},
           {"without", {{"accuracy", without.accuracy}, {"dynamic", without.dynamic}}},
           {"any_sign", {{"accuracy", any.accuracy}, {"dynamic", any.dynamic}}},
           {"random", {{"accuracy", random.accuracy}, {"dynamic", random.dynamic}}}}};
}

const RegisterMethod registered(
    {.id = kId,
     .name = "AP",
     .year = 2022,
     .kind = "Plugin",
     .taxonomy = {{"weight", "neuron"}, "specific", {"after"}, "labelled", "activation rate", "", "global", "iterative", "full", "", {"cnn", "vit", "llm"}},
     .needs = {"data", "training"},
     .options = {{"prune_percent", "real", "20", "above 0, below 100", "percent of the remaining weights that a round removes"},
                 {"ap_percent", "real", "2", "0 to below prune_percent", "percent of these, of the same count, that wakes units; 0: the base pruner alone"},
                 {"rounds", "int", "25", "> 0", "prunings"},
                 {"base", "text", "magnitude", "magnitude, gradient, lamp, random", "what removes the others"},
                 {"sign", "text", "negative", "negative, any", "of the weights that may go"},
                 {"metric", "text", "movement", "movement, magnitude, random", "the lowest of which go"},
                 {"rewind", "text", "init", "init, steps (500), epochs (6ep) or a share (0.02)", "where every round begins"},
                 {"dnr_every", "int", "1", "from 0", "epochs between counts of dead units; 0: at a round's end only"},
                 {"dnr_samples", "int", "2048", "> 0", "pictures or sequences to count on"},
                 {"exclude", "text", "", "patterns with ; between", "weights that stay dense"}},
     .default_of = "params",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce,
     .reproduces = false});

}  // namespace
}  // namespace espalier::activating_method
