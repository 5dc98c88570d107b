#include "espalier/lab/allocation/global_magnitude.h"

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

at::Tensor magnitudes(const at::Tensor& weight) { return weight.detach().to(at::kFloat).abs().contiguous(); }

at::Tensor load(const LayerWeights& layer) {
  const auto weights = magnitudes(layer.load());
  ESP_ASSERT(weights.numel() == layer.size, "{}: {} announced, {} loaded", layer.name, layer.size, weights.numel());
  return weights;
}

// The cut beyond which a layer's weights are protected.
Cut protection(std::span<const float> values, int64_t min_keep) {
  return find_cut(values, std::max<int64_t>(0, std::ssize(values) - min_keep));
}

int64_t count_removable(const std::vector<LayerWeights>& layers, int64_t min_keep, int64_t& total) {
  int64_t removable = 0;
  for (const auto& layer : layers) {
    total += layer.size;
    removable += std::max<int64_t>(0, layer.size - min_keep);
  }
  return removable;
}

// Splits the global cut among the layers: everything below the threshold, and the ties in the collected order.
class Splitter {
 public:
  Splitter(GlobalCut& result, Cut cut) : result_(result), left_(cut) {}

  void add(std::span<const float> values, const Cut* limit) {
    const auto [below, equal] = count_at(left_.threshold, values);
    Cut cut{left_.threshold, std::min(equal, left_.ties)};
    if (limit && limit->threshold < left_.threshold) {
      cut = *limit;  // all unprotected weights go
    } else if (limit && limit->threshold == left_.threshold) {
      cut.ties = std::min(cut.ties, limit->ties);
    }
    const bool at_threshold = cut.threshold == left_.threshold;
    if (at_threshold) left_.ties -= cut.ties;
    result_.layer_removed.push_back((at_threshold ? below : count_at(cut.threshold, values).below) + cut.ties);
    result_.layer_size.push_back(std::ssize(values));
    result_.cuts.push_back(cut);
  }

 private:
  GlobalCut& result_;
  Cut left_;
};

template <typename Use>
void for_each_layer(const std::vector<LayerWeights>& layers, int64_t min_keep, Use use) {
  for (const auto& layer : layers) {
    const auto held = load(layer);
    const auto values = float_span(held);
    check_no_nan(values, layer.name);
    if (min_keep == 0) {
      use(values, nullptr);
    } else {
      const Cut limit = protection(values, min_keep);
      use(values, &limit);
    }
  }
}

void check_arguments(const std::vector<LayerWeights>& layers, double sparsity, int64_t min_keep) {
  check_share(sparsity, "global magnitude");
  if (min_keep < 0) throw UserError("global magnitude", "min_keep", "at least 0", fmt::format("{}", min_keep));
  if (layers.empty()) user_error("global magnitude: there is no prunable tensor");
}

}  // namespace

double GlobalCut::density(size_t layer) const {
  const int64_t size = layer_size.at(layer);
  return size == 0 ? 1.0 : static_cast<double>(size - layer_removed[layer]) / static_cast<double>(size);
}

GlobalCut global_magnitude(const std::vector<LayerWeights>& layers, double sparsity, int64_t min_keep) {
  check_arguments(layers, sparsity, min_keep);
  GlobalCut result;
  const int64_t removable = count_removable(layers, min_keep, result.total);
  result.removed = removal_count(sparsity, result.total);
  if (result.removed > removable) {
    throw UserError("global magnitude", "min_keep", fmt::format("a minimum that lets {} weights go", result.removed),
                    fmt::format("{}, which lets {} go", min_keep, removable));
  }
  StreamingCut selector;
  for_each_layer(layers, min_keep, [&](auto values, const Cut* limit) { selector.survey(values, limit); });
  selector.choose(result.removed);
  for_each_layer(layers, min_keep, [&](auto values, const Cut* limit) { selector.refine(values, limit); });
  const Cut cut = selector.cut();
  if (result.removed > 0) result.threshold = cut.threshold;
  Splitter splitter(result, cut);
  for_each_layer(layers, min_keep, [&](auto values, const Cut* limit) { splitter.add(values, limit); });
  return result;
}

int64_t min_keep_from_percent(int64_t total, double percent) {
  if (!(percent >= 0 && percent <= 100)) {
    throw UserError("global magnitude", "min_keep_percent", "a number in [0, 100]", fmt::format("{}", percent));
  }
  return static_cast<int64_t>(static_cast<double>(total) * percent / 100);
}

at::Tensor magnitude_cut_mask(const at::Tensor& weight, Cut cut) {
  const auto held = magnitudes(weight);
  auto mask = at::ones(weight.sizes(), at::kBool);
  apply_cut(cut, float_span(held), mask_bytes(mask));
  return mask;
}

at::Tensor magnitude_count_mask(const at::Tensor& weight, int64_t k, const std::string& name) {
  return keep_units(magnitudes(weight), k, name);
}

}  // namespace espalier
