#include "espalier/lab/training/dynamic_sparse.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/choice.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/allocation/erk.h"
#include "espalier/lab/allocation/global_magnitude.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/density_schedule.h"
#include "espalier/lab/training/prunable.h"
#include "espalier/lab/training/regrowth.h"
#include "espalier/lab/training/sparse_cost.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, Growth> kGrowths[] = {{"gradient", Growth::kGradient}, {"random", Growth::kRandom}, {"momentum", Growth::kMomentum}};
constexpr std::pair<const char*, PruneScope> kScopes[] = {{"global", PruneScope::kGlobal}, {"uniform", PruneScope::kUniform}};

constexpr double kGradientMemory = 0.9;  // of growth by momentum
// The released uniform rule: a classifier keeps a fifth once four fifths of the others are gone.
constexpr double kClassifierDensity = 0.2, kSparseEnough = 0.8;

class DynamicSparsePlugin : public Plugin, public DecidesMasks {
 public:
  explicit DynamicSparsePlugin(DynamicSparse settings) : settings_(std::move(settings)) {}

  std::string id() const override { return settings_.id; }
  std::string refuses(const Plugin& other) const override { return refuses_other_masks(other); }

  void before_training(Training& training) override {
    weights_ = PrunableWeights(training, settings_.exclude, settings_.id);
    classifier_ = classifier_weight(training.graph());
    if (settings_.min_keep_percent > 0) settings_.min_keep = min_keep_from_percent(weights_.total(), settings_.min_keep_percent);
    const auto& names = weights_.names();
    const bool masked = std::any_of(names.begin(), names.end(), [&](const auto& name) { return training.mask(name).defined(); });
    masks_ = masked ? weights_.masks(training) : start_masks(training);
    weights_.set_masks(training, masks_);
    for (const auto& mask : masks_) ever_.push_back(mask.clone());
    cost_ = SparseCost(training, names);
    cost_.set_masks(masks_);
  }

  void after_backward(Training& training) override {
    if (!settings_.swaps) return;
    const SwapPlan& plan = *settings_.swaps;
    if (plan.growth == Growth::kMomentum) remember_gradients(training);
    if (plan.growth != Growth::kGradient || !swaps_at(training, training.step() + 1)) return;
    gradients_.clear();
    for (const auto& name : weights_.names()) gradients_.push_back(gradient_of(training, name).abs());
  }

  void after_step(Training& training) override {
    const int64_t done = training.step() + 1;
    const bool swaps = swaps_at(training, done);
    cost_.add_step(swaps && settings_.swaps->growth == Growth::kGradient);
    const auto sparsity = settings_.prune_to ? settings_.prune_to(done) : std::nullopt;
    if (sparsity) prune(training, *sparsity);
    if (swaps) swap(training, done);
    if (!sparsity && !swaps) return;
    note(training, done, swaps);
  }

  void end(Training& training) override { training.record(settings_.id + "/flops share", cost_.share()); }

  Json findings() const override {
    return {{"layers", density_table(weights_.names(), masks_)},
            {"kept", alive_count(masks_)},
            {"total", weights_.total()},
            {"ever alive", explored()},
            {"training flops share", cost_.share()},
            {"course", course_}};
  }

  void save(StateStore& state) const override {
    put_tensors(state, "mask", masks_);
    put_tensors(state, "ever", ever_);
    put_tensors(state, "memory", memory_);
    cost_.save(state);
    state.values["course"] = course_;
  }
  void load(const StateStore& state) override {
    masks_ = get_tensors(state, "mask");
    ever_ = get_tensors(state, "ever");
    memory_ = get_tensors(state, "memory");
    cost_.load(state);
    course_ = state.values.at("course");
  }

 private:
  static std::string classifier_weight(const Graph& graph) {
    const auto last = graph.outputs.empty() ? std::nullopt : graph.producer(graph.outputs[0]);
    const Node* node = last ? &graph.nodes[static_cast<size_t>(*last)] : nullptr;
    return node && node->has_param("weight") ? node->params.at("weight") : "";
  }

  LayerTensors start_masks(Training& training) const {
    LayerTensors masks = weights_.masks(training);
    if (settings_.start_density >= 1) return masks;
    std::vector<Shape> shapes;
    for (const auto& mask : masks) shapes.push_back(mask.sizes().vec());
    std::vector<double> densities(masks.size(), settings_.start_density);
    if (!settings_.uniform_start) densities = erk_densities(shapes, settings_.start_density);
    for (size_t l = 0; l < masks.size(); ++l) {
      Rng rng = training.rng(settings_.id + "/start/" + weights_.names()[l]);
      masks[l] = random_keep(masks[l].sizes(), round_half_even(densities[l] * static_cast<double>(masks[l].numel())), rng);
    }
    return masks;
  }

  static at::Tensor gradient_of(Training& training, const std::string& name) {
    const at::Tensor gradient = training.gradient(name);
    return gradient.defined() ? gradient.detach() : at::zeros_like(training.value(name).detach());
  }

  void remember_gradients(Training& training) {
    if (memory_.empty())
      for (const auto& value : weights_.values(training)) memory_.push_back(at::zeros_like(value));
    for (size_t l = 0; l < memory_.size(); ++l) memory_[l].mul_(kGradientMemory).add_(gradient_of(training, weights_.names()[l]));
  }

  // After the last step nothing trains what would grow.
  bool swaps_at(const Training& training, int64_t done) const {
    if (!settings_.swaps || done >= training.steps()) return false;
    return done % settings_.swaps->interval == 0 && done >= settings_.swaps->start && done < settings_.swaps->end;
  }

  int64_t kept_of(double sparsity, int64_t total) const {
    if (settings_.floor_removed) return total - removal_count(sparsity, total);
    return static_cast<int64_t>(std::floor((1 - sparsity) * static_cast<double>(total) + 1e-9));
  }

  void prune(Training& training, double sparsity) {
    const LayerTensors magnitudes = weights_.magnitudes(training);
    if (settings_.scope == PruneScope::kGlobal) {
      prune_globally(magnitudes, std::max<int64_t>(0, alive_count(masks_) - kept_of(sparsity, weights_.total())));
    } else {
      for (size_t l = 0; l < masks_.size(); ++l) {
        const bool spared = weights_.names()[l] == classifier_ && sparsity >= kSparseEnough;
        const int64_t keep = kept_of(spared ? 1 - kClassifierDensity : sparsity, masks_[l].numel());
        remove_lowest({magnitudes[l]}, {masks_[l]}, std::max<int64_t>(0, alive_count({masks_[l]}) - keep), settings_.id);
      }
    }
    weights_.set_masks(training, masks_);
  }

  void prune_globally(const LayerTensors& magnitudes, int64_t count) {
    if (settings_.min_keep == 0) return remove_lowest(magnitudes, masks_, count, settings_.id);
    LayerTensors candidates;  // all but each layer's largest
    for (size_t l = 0; l < masks_.size(); ++l) {
      const at::Tensor largest = masks_[l].clone();
      remove_lowest({magnitudes[l]}, {largest}, std::max<int64_t>(0, alive_count({largest}) - settings_.min_keep), settings_.id);
      candidates.push_back(largest.logical_not());
    }
    const int64_t removed = remove_lowest_of(magnitudes, masks_, candidates, count, settings_.id);
    if (removed < count) throw UserError(settings_.id, "option min_keep", fmt::format("a minimum that lets {} weights go", count), fmt::format("{}, which lets {} go", settings_.min_keep, removed));
  }

  at::Tensor growth_scores(Training& training, size_t layer) const {
    switch (settings_.swaps->growth) {
      case Growth::kGradient: return gradients_.at(layer);
      case Growth::kMomentum: return memory_.at(layer).abs();
      case Growth::kRandom: break;
    }
    at::Tensor scores = at::empty(masks_[layer].sizes(), at::kDouble);
    Rng rng = training.rng(settings_.id + "/growth/" + weights_.names()[layer]);
    for (int64_t i = 0; i < scores.numel(); ++i) scores.data_ptr<double>()[i] = rng.uniform();
    return scores;
  }

  double swap_rate(int64_t done) const {
    const SwapPlan& plan = *settings_.swaps;
    return plan.constant ? plan.high : cosine_rate(static_cast<double>(done), static_cast<double>(plan.total), plan.high, plan.low);
  }

  void swap(Training& training, int64_t done) {
    const double rate = swap_rate(done);
    swapped_ = 0;
    at::NoGradGuard no_gradients;
    for (size_t l = 0; l < masks_.size(); ++l) {
      const std::string& name = weights_.names()[l];
      const Swap swap = swap_weights(training.value(name), masks_[l], growth_scores(training, l), rate, settings_.id + ": " + name);
      swapped_ += swap.count;
      training.value(name).masked_fill_(swap.grown, 0);
      training.set_mask(name, masks_[l]);
      training.forget(name, swap.grown);
    }
    gradients_.clear();
  }

  double explored() const { return weights_.total() > 0 ? static_cast<double>(alive_count(ever_)) / static_cast<double>(weights_.total()) : 1; }

  void note(Training& training, int64_t done, bool swaps) {
    for (size_t l = 0; l < masks_.size(); ++l) ever_[l].logical_or_(masks_[l]);
    cost_.set_masks(masks_);
    const int64_t alive = alive_count(masks_);
    const double sparsity = 1 - static_cast<double>(alive) / static_cast<double>(weights_.total());
    const double share = swaps && alive > 0 ? static_cast<double>(swapped_) / static_cast<double>(alive) : 0;
    training.record(settings_.id + "/sparsity", sparsity);
    training.record(settings_.id + "/ever alive", explored());
    if (swaps) training.record(settings_.id + "/swapped", share);
    course_.push_back({{"step", done}, {"alive", alive}, {"sparsity", sparsity}, {"swapped", swaps ? swapped_ : 0}, {"ever alive", explored()}});
  }

  DynamicSparse settings_;
  PrunableWeights weights_;
  std::string classifier_;
  LayerTensors masks_, ever_;
  LayerTensors gradients_;  // |gradient| of this step, where it swaps
  LayerTensors memory_;     // of growth by momentum
  SparseCost cost_;
  int64_t swapped_ = 0;
  Json course_ = Json::array();
};

}  // namespace

Growth growth_of(const std::string& where, const std::string& name) { return choice_from_name(where, name, kGrowths); }
PruneScope prune_scope_of(const std::string& where, const std::string& name) { return choice_from_name(where, name, kScopes); }

std::unique_ptr<Plugin> make_dynamic_sparse(DynamicSparse settings) { return std::make_unique<DynamicSparsePlugin>(std::move(settings)); }

}  // namespace espalier
