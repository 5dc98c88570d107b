// 42 PQ index and Sparsity-informed Adaptive Pruning (2023): rounds of training from the initial weights, each of which
// removes what the PQ index of the trained weights allows.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/allocation/sap_counts.h"
#include "espalier/lab/criteria/pq_index.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training_arm.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/kept_states.h"
#include "espalier/lab/training/prunable.h"
#include "espalier/lab/training/small_networks.h"
#include "espalier/lab/training/training_task.h"

namespace espalier::sap_method {
namespace {

constexpr const char* kId = "42-pq-index-sap";

enum class Mode { kAdaptive, kFixed, kOneShot };

struct Settings {
  SapSettings sap;
  Mode mode = Mode::kAdaptive;
  double fixed_rate = 0.2;
  int64_t rounds = 30;
  bool best = true, stop_by_index = true;
  double max_drop = 1;
  std::string exclude;
};

// The names of weights that are stored [inputs, outputs].
std::vector<bool> transposed_weights(const Graph& graph, const std::vector<std::string>& names) {
  std::vector<bool> transposed(names.size(), false);
  for (const auto& node : graph.nodes)
    for (size_t l = 0; l < names.size(); ++l)
      if (node.has_param("weight") && node.params.at("weight") == names[l] && node.flag_or("transposed", false)) transposed[l] = true;
  return transposed;
}

// How much worse an evaluation is than the first: points of accuracy as a share, or the relative rise of a perplexity.
double drop_of(const Json& first, const Json& now) {
  if (first.contains("accuracy") && now.contains("accuracy")) return first["accuracy"].get<double>() - now["accuracy"].get<double>();
  if (first.contains("perplexity") && now.contains("perplexity")) return now["perplexity"].get<double>() / first["perplexity"].get<double>() - 1;
  return 0;
}

class Sap : public Plugin, public DecidesMasks {
 public:
  explicit Sap(Settings settings) : settings_(std::move(settings)), states_(kId, 0) {}

  std::string id() const override { return kId; }
  std::string refuses(const Plugin& other) const override { return refuses_other_masks(other); }

  void before_training(Training& training) override {
    weights_ = PrunableWeights(training, settings_.exclude, kId);
    masks_ = weights_.masks(training);
    transposed_ = transposed_weights(training.graph(), weights_.names());
  }
  void on_batch(Training& training, TrainingBatch&) override {
    states_.before_step(training);
    if (training.step() > 0 && training.step() % training.steps_an_epoch() == 0) keep_best(training);
  }

  bool goes_on(Training& training) override {
    keep_best(training);
    if (settings_.best && !best_.tensors.empty()) restore_best(training);
    if (round_ == 0) dense_ = weights_.copies(training);
    note(training);
    if (const std::string why = why_stop(); !why.empty()) return stop(training, why);
    const int64_t before = alive_count(masks_);
    prune(training);
    const int64_t removed = before - alive_count(masks_);
    rows_.back()["removed"] = removed;
    if (removed == 0) return stop(training, "no group may lose a weight any more");
    weights_.set_masks(training, masks_);
    rows_.back()["pruned"] = training.task().evaluate(training.result());
    training.restore(states_.initial(), true);
    best_ = {};
    best_value_ = Json::object();
    ++round_;
    return true;
  }

  Json findings() const override { return {{"rounds", rows_}, {"layers", density_table(weights_.names(), masks_)}, {"stopped", stopped_}}; }

  void save(StateStore& state) const override {
    states_.save(state);
    state.put("best", best_);
    put_tensors(state, "mask", masks_);
    put_tensors(state, "dense", dense_);
    state.values["rows"] = rows_;
    state.values["best value"] = best_value_;
    state.values["round"] = round_;
  }
  void load(const StateStore& state) override {
    states_.load(state);
    best_ = state.part("best");
    masks_ = get_tensors(state, "mask");
    dense_ = get_tensors(state, "dense");
    rows_ = state.values.at("rows");
    best_value_ = state.values.at("best value");
    round_ = state.values.at("round").get<int64_t>();
  }

 private:
  // Evaluations follow the hooks of an epoch's end, so the last one belongs to the weights as they are before the next step.
  void keep_best(Training& training) {
    if (!settings_.best) return;
    const Json value = latest_evaluation(training);
    if (value.empty() || (!best_value_.empty() && drop_of(best_value_, value) >= 0)) return;
    best_ = training.snapshot();
    best_value_ = value;
  }

  void restore_best(Training& training) {
    const int64_t end = training.step();
    StateStore state = best_;
    state.values["step"] = end;
    training.restore(state);
  }

  LayerTensors oriented(const LayerTensors& tensors) const {
    LayerTensors result;
    for (size_t l = 0; l < tensors.size(); ++l) result.push_back(transposed_[l] ? tensors[l].t().contiguous() : tensors[l]);
    return result;
  }

  at::Tensor alive_entries(const LayerTensors& weights) const {
    LayerTensors parts;
    for (size_t l = 0; l < weights.size(); ++l) parts.push_back(weights[l].masked_select(masks_[l]));
    return at::cat(parts);
  }

  void note(Training& training) {
    const auto& [p, q, eta, gamma, beta, scope] = settings_.sap;
    const LayerTensors weights = weights_.values(training);
    const at::Tensor all = alive_entries(weights);
    Json row = {{"round", round_},
                {"remaining", alive_count(masks_)},
                {"share", static_cast<double>(alive_count(masks_)) / static_cast<double>(weights_.total())},
                {"pqi", pq_index(all, p, q, kId)},
                {"gini", gini_index(all, kId)},
                {"removed", 0},
                {"trained", settings_.best && !best_value_.empty() ? best_value_ : latest_evaluation(training)}};
    Json layers = Json::array();
    for (size_t l = 0; l < weights.size(); ++l) layers.push_back(pq_index(weights[l].masked_select(masks_[l]), p, q, weights_.names()[l]));
    row["layer_pqi"] = layers;
    training.record(fmt::format("{}/pqi", kId), row["pqi"].get<double>());
    training.record(fmt::format("{}/gini", kId), row["gini"].get<double>());
    training.record(fmt::format("{}/remaining", kId), row["share"].get<double>());
    rows_.push_back(std::move(row));
  }

  // Two rises, then two falls, at the end of the course.
  bool index_collapses() const {
    if (rows_.size() < 5) return false;
    const auto pqi = [&](size_t back) { return rows_[rows_.size() - 1 - back].at("pqi").get<double>(); };
    return pqi(4) < pqi(3) && pqi(3) < pqi(2) && pqi(2) > pqi(1) && pqi(1) > pqi(0);
  }

  std::string why_stop() const {
    if (round_ == settings_.rounds) return "all rounds are done";
    if (settings_.stop_by_index && index_collapses()) return "the PQ index rose for two rounds and then fell for two";
    if (const double drop = drop_of(rows_.front().at("trained"), rows_.back().at("trained")); drop > settings_.max_drop)
      return fmt::format("the metric fell by {:.4f}", drop);
    return "";
  }

  bool stop(Training&, const std::string& why) {
    stopped_ = why;
    inform("{}: ends after round {}: {}", kId, round_, why);
    return false;
  }

  void prune(Training& training) {
    const LayerTensors weights = settings_.mode == Mode::kOneShot ? dense_ : weights_.values(training);
    if (settings_.mode != Mode::kAdaptive) {
      LayerTensors magnitudes;
      for (const auto& weight : weights) magnitudes.push_back(weight.abs());
      remove_lowest(magnitudes, masks_, removal_count(settings_.fixed_rate, alive_count(masks_)), kId);
      return;
    }
    const LayerTensors masks = oriented(masks_);
    const auto groups = sap_round(oriented(weights), masks, settings_.sap, kId);
    for (size_t l = 0; l < masks_.size(); ++l) masks_[l] = transposed_[l] ? masks[l].t().contiguous() : masks[l];
    if (settings_.sap.scope == SapScope::kNeuron) return;  // one line a row would fill the record
    Json table = Json::array();
    for (const SapGroup& group : groups)
      table.push_back({{"group", group.layer < 0 ? "all" : weights_.names()[static_cast<size_t>(group.layer)]},
                       {"alive", group.count.alive},
                       {"pqi", group.count.index},
                       {"retain", group.count.retained},
                       {"removed", group.count.removed}});
    rows_.back()["groups"] = table;
  }

  Settings settings_;
  KeptStates states_;
  PrunableWeights weights_;
  std::vector<bool> transposed_;
  LayerTensors masks_, dense_;
  StateStore best_;
  Json best_value_ = Json::object();
  int64_t round_ = 0;
  Json rows_ = Json::array();
  std::string stopped_;
};

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  const OptionValues& options = request.options;
  Settings settings;
  settings.sap = {.p = options.real("p", -1e6, 1e6), .q = options.real("q", -1e6, 1e6), .eta = options.real("eta_r", -1e6, 1e9), .gamma = options.real("gamma", -1e6, 1e9),
                  .beta = options.real("beta", -1e6, 1e6), .scope = sap_scope(fmt::format("{}: option scope", kId), options.text("scope"))};
  check_sap(settings.sap, kId);
  const std::string mode = options.word("mode", {"sap", "lt", "os"});
  settings.mode = mode == "sap" ? Mode::kAdaptive : mode == "lt" ? Mode::kFixed : Mode::kOneShot;
  settings.fixed_rate = options.real("fixed_rate", 0, 1);
  if (!(settings.fixed_rate > 0 && settings.fixed_rate < 1)) throw UserError(kId, "option fixed_rate", "above 0, below 1", options.text("fixed_rate"));
  settings.rounds = options.integer("rounds", 1, 1000);
  settings.best = options.word("checkpoint", {"best", "last"}) == "best";
  settings.stop_by_index = options.flag("stop");
  settings.max_drop = options.has("max_drop") ? options.real("max_drop", 0, 1e6) : std::numeric_limits<double>::infinity();
  settings.exclude = options.text("exclude");
  if (request.sparsity) user_error("{}: it finds by itself how much may go, so --sparsity has no meaning here (rounds, eta_r and gamma have)", kId);
  return std::make_unique<Sap>(std::move(settings));
}

// Share that remains after each round, and accuracy there.
struct Course {
  std::vector<double> share, accuracy;

  // Between the rounds by lines, in the logarithm of what remains; nearest at the ends.
  double at(double wanted) const {
    for (size_t i = 1; i < share.size(); ++i) {
      if (share[i] > wanted) continue;
      const double x = std::log(share[i - 1] / wanted) / std::log(share[i - 1] / share[i]);
      return accuracy[i - 1] + x * (accuracy[i] - accuracy[i - 1]);
    }
    return accuracy.back();
  }
};

Course course_of(const Json& findings) {
  Course course;
  for (const Json& row : findings.at("rounds")) {
    course.share.push_back(row.at("share").get<double>());
    course.accuracy.push_back(100 * row.at("trained").at("accuracy").get<double>());
  }
  return course;
}

bool layers_differ(const Json& findings) {
  std::set<double> shares;
  for (const Json& group : findings.at("rounds").at(0).at("groups")) shares.insert(group.at("removed").get<double>() / group.at("alive").get<double>());
  return shares.size() > 1;
}

Reproduction reproduce(ReproduceContext& context) {
  constexpr uint64_t kSeeds = 3;
  constexpr int64_t kSteps = 460, kRounds = 6;
  double adaptive = 0, one_shot = 0, share = 0;
  bool differ = true;
  Json indices = Json::array(), removed = Json::array();
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const auto run = [&](const std::map<std::string, std::string>& options) {
      Model model = small_mlp({100, 50}, seed);
      return training_arm(context, model, {.method = kId, .options = options, .steps = kSteps, .seed = seed, .evaluate = true}).findings;
    };
    const std::string rounds = std::to_string(kRounds);
    const Json ours = run({{"rounds", rounds}, {"gamma", "3"}});
    const Course sap = course_of(ours);
    const double end = sap.share.back();
    const std::string rate = fmt::format("{:.6f}", 1 - std::pow(end, 1.0 / kRounds));
    const Json control = run({{"rounds", rounds}, {"mode", "os"}, {"fixed_rate", rate}, {"stop", "false"}});
    adaptive += sap.accuracy.back() / kSeeds;
    one_shot += course_of(control).at(end) / kSeeds;
    share += end / kSeeds;
    differ = differ && layers_differ(ours);
    Json course = Json::array();
    for (const Json& row : ours.at("rounds")) course.push_back(row.at("pqi"));
    indices.push_back(course);
    removed.push_back(ours.at("rounds").at(0).at("groups"));
  }
  return {"the PQ index of trained weights says how many each round and each layer may lose, which keeps more accuracy at a size than one ranking of the dense weights",
          fmt::format("{} rounds of a small network with two hidden layers, {} steps each, mean of {} seeds: at {:.1f} % of the weights {:.1f} % top-1, by one ranking of the dense weights "
                      "{:.1f} %; layers lose {} shares",
                      kRounds, kSteps, kSeeds, 100 * share, adaptive, one_shot, differ ? "different" : "equal"),
          adaptive >= one_shot && differ,
          {{"sap", adaptive}, {"one_shot", one_shot}, {"share", share}, {"pqi", indices}, {"first_round", removed}}};
}

const RegisterMethod registered(
    {.id = kId,
     .name = "PQ index / SAP",
     .year = 2023,
     .kind = "Plugin",
     .taxonomy = {{"weight"}, "specific", {"after"}, "labelled", "magnitude, sparsity index", "", "global", "iterative", "full", "", {"cnn", "vit", "llm"}},
     .needs = {"data", "training"},
     .options = {{"p", "real", "0.5", "0 < p < q", "of the index"},
                 {"q", "real", "1", "above p", "of the index"},
                 {"eta_r", "real", "0", "from 0", "how much of the p-th powers may go; 0 is the strictest"},
                 {"gamma", "real", "1", "above 0", "scale of the share that goes"},
                 {"beta", "real", "0.9", "(0, 1]", "the largest share of a round"},
                 {"scope", "text", "layer", "global, layer, neuron", "the groups that are counted and ranked each on its own"},
                 {"rounds", "int", "30", "> 0", "prunings at most; 15 for large networks"},
                 {"mode", "text", "sap", "sap, lt, os", "counts by the index; a fixed share of what remains; the same, ranked by the dense weights"},
                 {"fixed_rate", "real", "0.2", "(0, 1)", "that share"},
                 {"checkpoint", "text", "best", "best, last", "of a round: the best evaluation at an epoch's end, or the last weights"},
                 {"stop", "flag", "true", "true, false", "stop once the index rose for two rounds and fell for two"},
                 {"max_drop", "real", "", "from 0", "stop when accuracy fell by more (a share), or perplexity rose by more (relative)"},
                 {"exclude", "text", "", "patterns with ; between", "weights that stay dense"}},
     .default_of = "params",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::sap_method
