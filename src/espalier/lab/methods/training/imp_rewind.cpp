// 18 Stabilizing the Lottery Ticket Hypothesis (2019): rounds of training, pruning by magnitude and going back to an early
// step, and how stable the subnetworks are under pruning and under another order of the data.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/measure/weight_distance.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training_arm.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/kept_states.h"
#include "espalier/lab/training/prunable.h"
#include "espalier/lab/training/small_networks.h"
#include "espalier/lab/training/step_place.h"

namespace espalier::imp_rewind_method {
namespace {

constexpr const char* kId = "18-imp-rewind";
constexpr const char* kMain = "rewind";

struct Settings {
  int64_t rewind = 0;
  double fraction = 0.2;
  int64_t rounds = 15;
  std::optional<double> target;
  bool layerwise = false, fresh_optimiser = false, orders = false;
  std::string exclude;
  std::vector<std::string> controls;
};

// One training of a round: the tickets themselves last, because the next masks come from them.
struct Trial {
  std::string arm;
  uint64_t order = 0;
};

class ImpRewind : public Plugin, public DecidesMasks {
 public:
  explicit ImpRewind(Settings settings, int64_t steps) : settings_(std::move(settings)), keeps_on_(settings_.rewind == steps), states_(kId, keeps_on_ ? 0 : settings_.rewind) {}

  std::string id() const override { return kId; }
  std::string refuses(const Plugin& other) const override { return refuses_other_masks(other); }

  void before_training(Training& training) override {
    weights_ = PrunableWeights(training, settings_.exclude, kId);
    masks_ = weights_.masks(training);
    seed_ = training.options().seed;
  }
  void on_batch(Training& training, TrainingBatch&) override { states_.before_step(training); }
  void after_step(Training& training) override { states_.after_step(training); }

  bool goes_on(Training& training) override {
    note(training);
    if (round_ == 0) dense_ = weights_.copies(training);
    if (++at_ < std::ssize(trials())) return begin(training);
    if (!prune(training)) return false;
    ++round_;
    at_ = 0;
    return begin(training);
  }

  Json findings() const override {
    return {{"rounds", rows_}, {"layers", density_table(weights_.names(), masks_)}, {"rewind step", keeps_on_ ? Json("end") : Json(settings_.rewind)}};
  }

  void save(StateStore& state) const override {
    states_.save(state);
    state.put("trained", trained_);
    put_tensors(state, "mask", masks_);
    put_tensors(state, "dense", dense_);
    put_tensors(state, "other", other_);
    state.values["place"] = {round_, at_};
    state.values["rows"] = rows_;
  }
  void load(const StateStore& state) override {
    states_.load(state);
    trained_ = state.part("trained");
    masks_ = get_tensors(state, "mask");
    dense_ = get_tensors(state, "dense");
    other_ = get_tensors(state, "other");
    round_ = state.values.at("place").at(0).get<int64_t>();
    at_ = state.values.at("place").at(1).get<int64_t>();
    rows_ = state.values.at("rows");
  }

 private:
  static bool is_stability_arm(const std::string& arm) { return arm == kMain || arm == "rewind0" || arm == "random_mask"; }

  std::vector<Trial> trials() const {
    std::vector<Trial> list;
    if (round_ == 0) return {{kMain}};
    std::vector<std::string> arms = settings_.controls;
    arms.emplace_back(kMain);
    for (const auto& arm : arms) {
      if (settings_.orders && is_stability_arm(arm)) list.push_back({arm, 1});
      list.push_back({arm, 0});
    }
    return list;
  }
  Trial trial() const { return trials()[static_cast<size_t>(at_)]; }

  // What an arm is trained under: the round's masks, or as many weights of each layer at random places.
  LayerTensors masks_of(const std::string& arm) const {
    if (arm != "random_mask") return masks_;
    LayerTensors shuffled;
    for (size_t l = 0; l < masks_.size(); ++l) {
      Rng rng(seed_, fmt::format("{}/random mask/{}/{}", kId, round_, weights_.names()[l]));
      shuffled.push_back(random_keep(masks_[l].sizes(), alive_count({masks_[l]}), rng));
    }
    return shuffled;
  }

  // Where an arm begins.
  const StateStore& start_of(const std::string& arm) const { return arm == "rewind0" ? states_.initial() : states_.early(); }

  // The weights at the end of the round, with the place on the schedule of where the others begin.
  StateStore going_on() const {
    StateStore state = trained_.clone();
    state.values["step"] = keeps_on_ ? 0 : settings_.rewind;
    return state;
  }

  bool begin(Training& training) {
    const Trial next = trial();
    weights_.set_masks(training, masks_of(next.arm));
    if (next.arm == "finetune" || (next.arm == kMain && keeps_on_)) {
      training.restore(going_on(), true);
    } else if (next.arm == "random_reinit") {
      training.restore(fresh_state(training, states_.initial(), Rng(seed_, fmt::format("{}/random reinit", kId)).next()), true);
    } else {
      training.restore(start_of(next.arm), settings_.fresh_optimiser);
    }
    training.set_data_order(next.order);
    return true;
  }

  // Distances of what was trained from the dense network's end under the same mask, and of both orders from each other.
  void add_stability(Training& training, const Trial& done, Json& row) {
    if (round_ == 0 || !is_stability_arm(done.arm) || keeps_on_) return;
    const LayerTensors masks = masks_of(done.arm), origin = masked_weights(start_of(done.arm), weights_.names(), masks), now = weights_.copies(training);
    if (done.order == 1) {
      other_ = now;
      return;
    }
    LayerTensors dense;
    for (size_t l = 0; l < masks.size(); ++l) dense.push_back(dense_[l] * masks[l]);
    row["pruning_l2"] = l2_distance(now, dense);
    row["pruning_angle"] = angle_between(now, dense, origin);
    if (other_.empty()) return;
    row["order_l2"] = l2_distance(now, other_);
    row["order_angle"] = angle_between(now, other_, origin);
    other_.clear();
  }

  void note(Training& training) {
    const Trial done = trial();
    const int64_t alive = alive_count(masks_);
    Json row = {{"round", round_}, {"arm", done.arm}, {"order", done.order}, {"remaining", alive}, {"share", static_cast<double>(alive) / static_cast<double>(weights_.total())},
                {"loss", training.last_loss()}};
    row.update(latest_evaluation(training));
    add_stability(training, done, row);
    for (const char* name : {"pruning_l2", "pruning_angle", "order_l2", "order_angle"})
      if (row.contains(name)) training.record(fmt::format("{}/{}/{}", kId, done.arm, name), row[name].get<double>());
    if (done.arm == kMain && done.order == 0) training.record(fmt::format("{}/remaining", kId), row["share"].get<double>());
    rows_.push_back(std::move(row));
  }

  // How many of n may still go: with a target not more than it asks for.
  int64_t removable(int64_t n, int64_t total) const {
    const int64_t count = share_of(settings_.fraction, n);
    if (!settings_.target) return count;
    return std::clamp<int64_t>(n - (total - removal_count(*settings_.target, total)), 0, count);
  }

  // The smallest of what this round trained; false when enough is removed.
  bool prune(Training& training) {
    if (!settings_.target && round_ == settings_.rounds) return false;
    const auto& controls = settings_.controls;
    if (keeps_on_ || std::find(controls.begin(), controls.end(), "finetune") != controls.end()) trained_ = training.snapshot();
    const LayerTensors magnitudes = weights_.magnitudes(training);
    const int64_t before = alive_count(masks_);
    if (settings_.layerwise) {
      for (size_t l = 0; l < masks_.size(); ++l) remove_lowest({magnitudes[l]}, {masks_[l]}, removable(alive_count({masks_[l]}), masks_[l].numel()), kId);
    } else {
      remove_lowest(magnitudes, masks_, removable(before, weights_.total()), kId);
    }
    for (size_t l = 0; l < masks_.size(); ++l)
      if (masks_[l].numel() > 0 && !masks_[l].any().item<bool>()) warn("{}: round {} leaves nothing of {}", kId, round_ + 1, weights_.names()[l]);
    return alive_count(masks_) < before;
  }

  Settings settings_;
  bool keeps_on_;  // rewinding to the end: the weights go on, and the schedule begins anew
  KeptStates states_;
  PrunableWeights weights_;
  LayerTensors masks_, dense_, other_;  // other_: of the arm at hand, trained in the other order
  StateStore trained_;
  int64_t round_ = 0, at_ = 0;
  uint64_t seed_ = 0;
  Json rows_ = Json::array();
};

std::vector<std::string> controls_of(const OptionValues& options) {
  static const std::vector<std::string> kKnown{"random_reinit", "random_mask", "rewind0", "finetune"};
  std::vector<std::string> controls;
  const std::string list = options.text("controls");
  for (size_t begin = 0; begin < list.size() && list != "none";) {
    const size_t end = std::min(list.find(',', begin), list.size());
    controls.push_back(list.substr(begin, end - begin));
    if (std::find(kKnown.begin(), kKnown.end(), controls.back()) == kKnown.end())
      throw UserError(kId, "option controls", "some of random_reinit, random_mask, rewind0, finetune", "'" + printable(controls.back()) + "'");
    begin = end + 1;
  }
  return controls;
}

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  const OptionValues& options = request.options;
  Settings settings;
  settings.rewind = step_place(fmt::format("{}: option rewind", kId), options.text("rewind"), request.steps, request.steps_an_epoch);
  settings.fraction = options.real("prune_fraction", 0, 1);
  if (!(settings.fraction > 0 && settings.fraction < 1)) throw UserError(kId, "option prune_fraction", "above 0, below 1", options.text("prune_fraction"));
  settings.rounds = options.integer("rounds", 1, 1000);
  settings.target = options.has("target_sparsity") ? std::optional(options.real("target_sparsity", 0, 1)) : request.sparsity;
  if (settings.target) check_share(*settings.target, fmt::format("{}: option target_sparsity", kId));
  settings.layerwise = options.word("scope", {"global", "layerwise"}) == "layerwise";
  settings.fresh_optimiser = options.word("optimizer_state", {"rewind", "fresh"}) == "fresh";
  settings.orders = options.flag("data_orders");
  settings.exclude = options.text("exclude");
  settings.controls = controls_of(options);
  return std::make_unique<ImpRewind>(std::move(settings), request.steps);
}

// Of the rounds' table: one arm in its last round, in the run's own order of the data.
double last_of(const Json& findings, const std::string& arm, const std::string& value) {
  double last = 0;
  for (const Json& row : findings.at("rounds"))
    if (row.at("arm") == arm && row.at("order") == 0 && row.contains(value)) last = row.at(value).get<double>();
  return last;
}

Reproduction reproduce(ReproduceContext& context) {
  constexpr uint64_t kSeeds = 3;
  constexpr int64_t kSteps = 138, kRounds = 5;  // three epochs; half of the weights a round, because a third is enough for any arm here
  const std::vector<std::string> arms{kMain, "rewind0", "random_mask", "random_reinit"};
  std::map<std::string, double> accuracy, l2, angle;
  double dense = 0;
  Json tables = Json::array();
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Model model = small_convnet(seed);
    const TrainingArm arm = training_arm(context, model,
                                         {.method = kId,
                                          .options = {{"rewind", "0.05"}, {"prune_fraction", "0.5"}, {"rounds", std::to_string(kRounds)}, {"controls", "random_reinit,random_mask,rewind0"}},
                                          .steps = kSteps,
                                          .seed = seed});
    for (const auto& name : arms) {
      accuracy[name] += 100 * last_of(arm.findings, name, "accuracy") / kSeeds;
      l2[name] += last_of(arm.findings, name, "pruning_l2") / kSeeds;
      angle[name] += last_of(arm.findings, name, "pruning_angle") / kSeeds;
    }
    dense += 100 * arm.findings.at("rounds").at(0).at("accuracy").get<double>() / kSeeds;
    tables.push_back(arm.findings.at("rounds"));
  }
  return {"subnetworks that magnitudes found train as well from an early step as the whole network, better than random ones or from other weights, and stay nearer to it "
          "than from step 0",
          fmt::format("{} rounds of a small convolutional network, {} steps each, mean of {} seeds: with 3.1 % of the weights {:.1f} % top-1 from 5 % of the training, {:.1f} % "
                      "from step 0, {:.1f} % with random places, {:.1f} % from other initial weights, {:.1f} % dense; distance from the dense network's end {:.2f} from 5 %, {:.2f} "
                      "from step 0, {:.2f} with random places ({:.0f}, {:.0f} and {:.0f} degrees)",
                      kRounds, kSteps, kSeeds, accuracy[kMain], accuracy["rewind0"], accuracy["random_mask"], accuracy["random_reinit"], dense, l2[kMain], l2["rewind0"],
                      l2["random_mask"], angle[kMain], angle["rewind0"], angle["random_mask"]),
          accuracy[kMain] > accuracy["random_mask"] && accuracy[kMain] > accuracy["random_reinit"] && accuracy[kMain] >= accuracy["rewind0"] - 0.5 && l2[kMain] < l2["rewind0"],
          {{"accuracy", accuracy}, {"pruning_l2", l2}, {"pruning_angle", angle}, {"dense", dense}, {"rounds", tables}}};
}

const RegisterMethod registered(
    {.id = kId,
     .name = "IMP with rewinding",
     .year = 2019,
     .kind = "Plugin",
     .taxonomy = {{"weight"}, "specific", {"after"}, "labelled", "magnitude", "", "global", "iterative", "full", "", {"cnn", "vit", "llm"}},
     .needs = {"data", "training"},
     .options = {{"rewind", "text", "0.02", "steps (500), epochs (6ep) or a share (0.02)", "where every round begins; 0: the lottery ticket, 1.0: weights go on as they are"},
                 {"prune_fraction", "real", "0.2", "(0, 1)", "share of the remaining weights that a round removes"},
                 {"rounds", "int", "15", "> 0", "prunings; with a target as many as it takes"},
                 {"target_sparsity", "real", "", "[0, 1)", "empty: --sparsity, if that is given; the last round removes exactly so much"},
                 {"scope", "text", "global", "global, layerwise", "one ranking, or one in every layer"},
                 {"optimizer_state", "text", "rewind", "rewind, fresh", "that a round begins with"},
                 {"controls", "text", "none", "random_reinit, random_mask, rewind0, finetune", "also trained in every round, for comparison"},
                 {"data_orders", "flag", "false", "true, false", "train each twice, in two orders of the data, and measure how far apart they end"},
                 {"exclude", "text", "", "patterns with ; between", "weights that stay dense"}},
     .default_of = "params",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::imp_rewind_method
