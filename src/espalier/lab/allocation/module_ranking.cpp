#include "espalier/lab/allocation/module_ranking.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

}  // namespace

ModuleCut rank_module(const std::vector<LayerWeights>& layers, double ratio, const WeightScores& scores) {
  check_share(ratio, "ratio");
  ModuleCut module;
  for (const auto& layer : layers) module.total += layer.size;
  module.removed = removal_count(ratio, module.total);
  module.cuts.resize(layers.size());
  module.layer_removed.resize(layers.size(), 0);
  std::vector<double> all;
  all.reserve(static_cast<size_t>(module.total));
  const auto scores_of = [&](const LayerWeights& layer) {
    const at::Tensor values = scores(layer.load(), layer.name).contiguous();
    ESP_ASSERT(values.numel() == layer.size, "{}: {} scores for {} weights", layer.name, values.numel(), layer.size);
    return values;
  };
  for (const auto& layer : layers) {
    const at::Tensor values = scores_of(layer);
    all.insert(all.end(), doubles(values).begin(), doubles(values).end());
  }
  if (module.removed == 0) return module;
  WideCut cut = find_wide_cut(all, module.removed);
  module.threshold = cut.threshold;
  for (size_t l = 0; l < layers.size(); ++l) {  // scored again: two copies of all scores would be twice the memory
    const at::Tensor values = scores_of(layers[l]);
    const auto own = doubles(values);
    const int64_t below = std::count_if(own.begin(), own.end(), [&](double score) { return score < cut.threshold; });
    const int64_t ties = std::min<int64_t>(cut.ties, std::count(own.begin(), own.end(), cut.threshold));
    module.cuts[l] = {cut.threshold, ties};
    module.layer_removed[l] = below + ties;
    cut.ties -= ties;
  }
  return module;
}

at::Tensor module_cut_mask(const at::Tensor& weight, WideCut cut, const WeightScores& scores, const std::string& name) {
  at::Tensor keep = at::ones(weight.sizes(), at::kBool);
  apply_wide_cut(cut, doubles(scores(weight, name).contiguous()), mask_bytes(keep));
  return keep;
}

}  // namespace espalier
