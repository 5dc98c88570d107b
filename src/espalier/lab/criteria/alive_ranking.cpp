#include "espalier/lab/criteria/alive_ranking.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/wide_ranking.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// The scores of the chosen entries, one tensor after the other.
std::vector<double> chosen_scores(const LayerTensors& scores, const LayerTensors& chosen, const std::string& where) {
  std::vector<double> values;
  for (size_t l = 0; l < scores.size(); ++l) {
    ESP_ASSERT(scores[l].sizes() == chosen[l].sizes() && chosen[l].scalar_type() == at::kBool);
    const at::Tensor some = scores[l].detach().masked_select(chosen[l]).to(at::kDouble).contiguous();
    const auto* begin = some.data_ptr<double>();
    if (std::any_of(begin, begin + some.numel(), [](double score) { return score != score; }))
      user_error("{}: a score of tensor {} is NaN", where, l);
    values.insert(values.end(), begin, begin + some.numel());
  }
  return values;
}

// 1: the entry of `values` stays.
std::vector<uint8_t> kept_flags(const std::vector<double>& values, int64_t k) {
  std::vector<double> order = values;
  WideCut cut = find_wide_cut(order, k);
  std::vector<uint8_t> keep(values.size(), 1);
  apply_wide_cut(cut, values, keep);
  return keep;
}

// Clears in the masks what the flags of the chosen entries say.
void clear_chosen(const LayerTensors& masks, const LayerTensors& chosen, const std::vector<uint8_t>& keep) {
  size_t at = 0;
  for (size_t l = 0; l < masks.size(); ++l) {
    ESP_ASSERT(masks[l].is_contiguous());
    const at::Tensor held = chosen[l].contiguous();
    const auto flags = mask_bytes(held);
    auto mask = mask_bytes(masks[l]);
    for (size_t i = 0; i < flags.size(); ++i)
      if (flags[i]) mask[i] &= keep[at++];
  }
}

}  // namespace

int64_t alive_count(const LayerTensors& masks) {
  int64_t count = 0;
  for (const auto& mask : masks) count += mask.sum().item<int64_t>();
  return count;
}

int64_t share_of(double share, int64_t n) {
  ESP_ASSERT(share >= 0 && share <= 1 && n >= 0, "share {}, n {}", share, n);
  return std::clamp<int64_t>(static_cast<int64_t>(std::ceil(share * static_cast<double>(n) - 1e-9)), 0, n);
}

int64_t remove_lowest_of(const LayerTensors& scores, const LayerTensors& masks, const LayerTensors& candidates, int64_t k, const std::string& where) {
  ESP_ASSERT(scores.size() == masks.size() && candidates.size() == masks.size() && k >= 0);
  LayerTensors chosen;
  for (size_t l = 0; l < masks.size(); ++l) chosen.push_back(masks[l].logical_and(candidates[l]));
  const auto values = chosen_scores(scores, chosen, where);
  const int64_t removed = std::min<int64_t>(k, std::ssize(values));
  clear_chosen(masks, chosen, kept_flags(values, removed));
  return removed;
}

void remove_lowest(const LayerTensors& scores, const LayerTensors& masks, int64_t k, const std::string& where) {
  const int64_t removed = remove_lowest_of(scores, masks, masks, k, where);
  ESP_ASSERT(removed == k, "{}: {} of {}", where, removed, k);
}

at::Tensor grow_highest(const at::Tensor& scores, const at::Tensor& mask, int64_t k, const std::string& where) {
  const at::Tensor dead = mask.logical_not();
  // Of the negated scores the lowest: among equals the lower position again.
  const auto values = chosen_scores({-scores.detach().to(at::kDouble)}, {dead}, where);
  const at::Tensor left = dead.clone();
  clear_chosen({left}, {dead}, kept_flags(values, std::min<int64_t>(k, std::ssize(values))));
  const at::Tensor grown = dead.logical_and(left.logical_not());
  mask.logical_or_(grown);
  return grown;
}

at::Tensor random_keep(at::IntArrayRef shape, int64_t kept, Rng& rng) {
  at::Tensor mask = at::zeros(shape, at::kBool);
  auto* flags = mask.data_ptr<bool>();
  for (const int64_t position : rng.sample(mask.numel(), kept)) flags[position] = true;
  return mask;
}

}  // namespace espalier
