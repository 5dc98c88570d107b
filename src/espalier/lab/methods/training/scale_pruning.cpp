#include "espalier/lab/methods/training/scale_pruning.h"

#include <algorithm>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/ranking.h"
#include "espalier/families/family.h"
#include "espalier/lab/allocation/channel_classes.h"
#include "espalier/lab/measure/layer_columns.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/methods/structures/channel_removal.h"
#include "espalier/lab/methods/training/cut_quality.h"
#include "espalier/lab/repair/bias_folding.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/training.h"
#include "espalier/lab/training/trainer.h"
#include "espalier/structure/surgery.h"

namespace espalier {
namespace {

using Source = ScalePruning::Source;

std::vector<bool> flags_of(const at::Tensor& keep) {
  std::vector<bool> flags;
  for (int64_t i = 0; i < keep.numel(); ++i) flags.push_back(keep[i].item<bool>());
  return flags;
}

at::Tensor tensor_of(const std::vector<bool>& flags) {
  at::Tensor keep = at::zeros({std::ssize(flags)}, at::kBool);
  for (size_t i = 0; i < flags.size(); ++i) keep[static_cast<int64_t>(i)] = static_cast<bool>(flags[i]);
  return keep;
}

class ScalePruningPlugin : public Plugin {
 public:
  explicit ScalePruningPlugin(ScalePruning settings) : settings_(std::move(settings)) {}

  std::string id() const override { return settings_.id; }
  std::string refuses(const Plugin& other) const override {
    return dynamic_cast<const ScalePruningPlugin*>(&other) ? "both cut channels by the scales of norms" : "";
  }

  void before_training(Training& training) override {
    coupling_ = find_coupling(training.graph());
    groups_ = find_norm_groups(training.graph(), coupling_, settings_.shared);
    if (groups_.empty())
      user_error("{}: the model has no batch norms whose channels can go{}", id(), settings_.shared ? "" : " (--set stages=true takes those of residual streams as well)");
    searching_ = settings_.source == Source::kRun;
    if (settings_.source == Source::kEnd || searching_) return;
    keep_ = settings_.source == Source::kGiven ? given() : chosen(scales(training));
    begin_masked(training);
    warn_of_rescued();
  }

  void on_batch(Training& training, TrainingBatch&) override {
    if (!searching_ || begun_) return;
    begun_ = true;
    start_ = training.snapshot();
    start_.values["step"] = 0;  // within the first step, which is to come again
  }

  void after_backward(Training& training) override {
    const double lr = training.learning_rate(), s = searching_ ? settings_.run_strength : settings_.strength;
    at::NoGradGuard no_gradients;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const bool all = searching_ || settings_.penalise_all || settings_.source == Source::kEnd;
      const at::Tensor penalised = all ? at::Tensor() : keep_[g].logical_not();
      for (const auto& name : groups_[g].scales)
        if (at::Tensor gradient = training.gradient(name); gradient.defined())
          gradient.add_(penalty_gradient(training.value(name).detach(), settings_.penalty, s, lr, penalised));
    }
  }

  // The run that finds the mask ends in no cut.
  void epoch_end(Training& training) override {
    if (searching_ || !evaluation_follows(training)) return;
    const auto keep = settings_.source == Source::kEnd ? chosen(scales(training)) : keep_;
    record_cut_quality(training, [&](Model& model) { carry_out(model, keep); }, false);
  }

  bool goes_on(Training& training) override {
    if (!searching_) return false;
    keep_ = chosen(scales(training));
    training.restore(start_);
    start_ = {};
    searching_ = false;
    begin_masked(training);
    warn_of_rescued();
    return true;
  }

  void end(Training& training) override {
    const auto last = scales(training);
    if (settings_.source == Source::kEnd) {
      keep_ = chosen(last), before_ = mean_scales(last);
      warn_of_rescued();
    }
    after_ = mean_scales(last);
    cut_ = settings_.cut_as_masked || settings_.share ? keep_ : by_threshold(last);
    training.record(id() + "/kept scales", after_.first / std::max(1e-12, before_.first));
    training.record(id() + "/pruned scales", after_.second);
    record_cut_quality(training, [&](Model& model) { carry_out(model, cut_); }, true);
  }

  void finish(Model& model) override { carry_out(model, cut_); }

  Json findings() const override {
    Json layers = Json::object();
    int64_t kept = 0, all = 0;
    for (size_t g = 0; g < groups_.size(); ++g) {
      for (const auto& norm : groups_[g].norms) layers[norm] = flags_of(cut_[g]);
      kept += cut_[g].sum().item<int64_t>();
      all += cut_[g].numel();
    }
    return {{"keep", layers},
            {"channels", all},
            {"kept", kept},
            {"rescued layers", rescued_},
            {"mean scale of kept channels", {{"before", before_.first}, {"after", after_.first}}},
            {"largest scale of pruned channels", after_.second}};
  }

  void save(StateStore& state) const override {
    state.values["searching"] = searching_;
    state.values["before"] = {before_.first, before_.second, rescued_};
    if (begun_ && searching_) state.put("start", start_);
    for (size_t g = 0; g < keep_.size(); ++g) state.tensors[fmt::format("keep/{}", g)] = keep_[g];
  }
  void load(const StateStore& state) override {
    searching_ = state.values.at("searching").get<bool>();
    begun_ = true;
    const Json& before = state.values.at("before");
    before_ = {before.at(0).get<double>(), before.at(1).get<double>()};
    rescued_ = before.at(2).get<int64_t>();
    if (searching_) start_ = state.part("start");
    keep_.clear();
    for (size_t g = 0; state.has(fmt::format("keep/{}", g)); ++g) keep_.push_back(state.tensor(fmt::format("keep/{}", g)));
  }

 private:
  void carry_out(Model& model, const std::vector<at::Tensor>& keep) const {
    std::vector<int32_t> gone;
    std::map<std::string, at::Tensor> removed;
    for (size_t g = 0; g < groups_.size(); ++g) {
      for (const auto& norm : groups_[g].norms) removed[norm] = keep[g].logical_not();
      for (size_t c = 0; c < groups_[g].sets.size(); ++c)
        if (!keep[g][static_cast<int64_t>(c)].item<bool>()) gone.push_back(groups_[g].sets[c]);
    }
    if (settings_.fold) fold_removed_biases(model.graph, removed);
    cut(model.graph, coupling_, cuts_without(coupling_, gone));
  }

  void warn_of_rescued() const {
    if (rescued_ > 0) warn("{}: {} layers would have lost all channels and keep one", id(), rescued_);
  }

  using Scales = std::vector<std::vector<at::Tensor>>;  // of each group its voters'

  Scales scales(Training& training) const {
    Scales all;
    for (const auto& group : groups_) {
      all.emplace_back();
      for (size_t n = 0; n < group.voters; ++n) all.back().push_back(training.value(group.scales[n]).detach().clone());
    }
    return all;
  }

  static at::Tensor agreed(const std::vector<at::Tensor>& keeps) { return keeps.size() == 1 ? keeps[0] : vote_on_stage(keeps); }

  std::vector<at::Tensor> by_threshold(const Scales& scales) {
    std::vector<at::Tensor> result;
    int64_t above = 0;
    for (const auto& group : scales) {
      std::vector<at::Tensor> keeps;
      for (const auto& gamma : group) {
        const double threshold = settings_.energy ? energy_threshold(gamma) : settings_.threshold;
        keeps.push_back(keep_above(gamma, threshold, settings_.least));
        above += (gamma.abs() > threshold).sum().item<int64_t>();
      }
      result.push_back(agreed(keeps));
    }
    if (above == 0) throw UserError(id(), "threshold", "one that some scale is above", fmt::format("{:g}, which empties every layer", settings_.threshold));
    return result;
  }

  std::vector<at::Tensor> by_share(const Scales& scales) {
    std::vector<at::Tensor> flat, result;
    for (const auto& group : scales) flat.insert(flat.end(), group.begin(), group.end());
    std::vector<at::Tensor> keeps;
    if (settings_.source == Source::kUniform) {
      for (const auto& gamma : flat) keeps.push_back(slimming_cut({gamma}, *settings_.share).keep[0]);
    } else {
      SlimmingCut all = slimming_cut(flat, *settings_.share);
      keeps = std::move(all.keep);
      rescued_ = all.rescued;
    }
    size_t at = 0;
    for (const auto& group : scales) {
      result.push_back(agreed({keeps.begin() + static_cast<int64_t>(at), keeps.begin() + static_cast<int64_t>(at + group.size())}));
      at += group.size();
    }
    return result;
  }

  std::vector<at::Tensor> chosen(const Scales& scales) {
    auto keep = settings_.share ? by_share(scales) : by_threshold(scales);
    if (std::all_of(keep.begin(), keep.end(), [](const at::Tensor& one) { return one.all().item<bool>(); }))
      user_error("{}: no channel is to go: all scales are above {:g} (a larger s or threshold, more steps, or --sparsity)", id(), settings_.threshold);
    return keep;
  }

  std::vector<at::Tensor> given() const {
    std::set<std::string> known;
    std::vector<at::Tensor> result;
    for (const auto& group : groups_) {
      known.insert(group.norms.begin(), group.norms.end());
      const auto& flags = settings_.given.find(group.norms[0]);
      const auto size = std::ssize(group.sets);
      if (flags == settings_.given.end()) {
        result.push_back(at::ones({size}, at::kBool));
        continue;
      }
      if (std::ssize(flags->second) != size)
        throw UserError(id(), "mask of " + group.norms[0], fmt::format("{} channels", size), fmt::format("{}", flags->second.size()));
      result.push_back(tensor_of(flags->second));
    }
    for (const auto& [name, flags] : settings_.given)
      if (!known.count(name)) user_error("{}: the mask names {}, and there is no such norm whose channels can go{}", id(), printable(name), did_you_mean(name, {known.begin(), known.end()}));
    return result;
  }

  void begin_masked(Training& training) { before_ = mean_scales(scales(training)); }

  // Mean of the kept ones, largest of the others.
  std::pair<double, double> mean_scales(const Scales& scales) const {
    double sum = 0, largest = 0;
    int64_t count = 0;
    for (size_t g = 0; g < scales.size(); ++g)
      for (const auto& gamma : scales[g]) {
        const at::Tensor kept = gamma.abs().masked_select(keep_[g]), pruned = gamma.abs().masked_select(keep_[g].logical_not());
        sum += kept.sum().item<double>();
        count += kept.numel();
        if (pruned.numel() > 0) largest = std::max(largest, pruned.max().item<double>());
      }
    return {count > 0 ? sum / static_cast<double>(count) : 0, largest};
  }

  ScalePruning settings_;
  Coupling coupling_;
  std::vector<NormGroup> groups_;
  std::vector<at::Tensor> keep_, cut_;  // of each group
  bool searching_ = false, begun_ = false;
  StateStore start_;
  std::pair<double, double> before_{0, 0}, after_{0, 0};
  int64_t rescued_ = 0;
};

}  // namespace

std::vector<NormGroup> find_norm_groups(const Graph& graph, const Coupling& coupling, bool shared) {
  std::map<std::vector<int32_t>, NormGroup> by_sets;
  std::vector<std::vector<int32_t>> order;
  for (const bool voting : {true, false})
    for (const auto& node : graph.nodes) {
      if (node.op != "BatchNorm" || !node.has_param("weight")) continue;
      const auto producer = graph.producer(node.inputs[0]);
      const Node* layer = producer ? &graph.nodes[static_cast<size_t>(*producer)] : nullptr;
      if ((layer && is_weighted_layer(*layer) && !is_depthwise(graph, *layer)) != voting) continue;
      auto sets = coupling.canonical_sets(node.params.at("weight"), 0);
      if (sets.empty() || std::count_if(sets.begin(), sets.end(), [](int32_t set) { return set < 0; }) > 0) continue;
      if (voting && !by_sets.count(sets)) order.push_back(sets);
      if (!voting && !by_sets.count(sets)) continue;
      NormGroup& group = by_sets[sets];
      group.norms.push_back(node.name);
      group.scales.push_back(node.params.at("weight"));
      group.voters += voting;
      group.sets = sets;
    }
  std::vector<NormGroup> groups;
  for (const auto& sets : order)
    if (shared || by_sets[sets].voters == 1) groups.push_back(by_sets[sets]);
  return groups;
}

std::unique_ptr<Plugin> make_scale_pruning(ScalePruning settings) { return std::make_unique<ScalePruningPlugin>(std::move(settings)); }

}  // namespace espalier
