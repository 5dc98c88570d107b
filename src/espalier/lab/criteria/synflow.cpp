#include "espalier/lab/criteria/synflow.h"

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/core/signals.h"
#include "espalier/core/wide_ranking.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

std::vector<at::Tensor> masked_layers(const std::vector<at::Tensor>& magnitudes, const std::vector<at::Tensor>& keep) {
  std::vector<at::Tensor> result;
  for (size_t l = 0; l < magnitudes.size(); ++l) result.push_back(magnitudes[l] * keep[l]);
  return result;
}

// Scores under which what is gone already goes first.
std::vector<at::Tensor> ranked(const std::vector<at::Tensor>& scores, const std::vector<at::Tensor>& keep) {
  std::vector<at::Tensor> result;
  for (size_t l = 0; l < scores.size(); ++l) {
    if (!at::isfinite(scores[l].sum()).item<bool>()) user_error("synflow: the scores of layer {} are not finite", l);
    result.push_back(scores[l].masked_fill(keep[l].logical_not(), -std::numeric_limits<double>::infinity()).contiguous());
  }
  return result;
}

WideCut cut_of(const std::vector<at::Tensor>& scores, int64_t remove) {
  std::vector<double> all;
  for (const auto& layer : scores) {
    const auto values = doubles(layer);
    all.insert(all.end(), values.begin(), values.end());
  }
  return find_wide_cut(all, remove);
}

}  // namespace

SynFlowResult iterate_synflow(const std::vector<at::Tensor>& weights, double density, int64_t rounds, const SynapticScores& scores_of) {
  if (!(density > 0 && density <= 1)) throw UserError("synflow", "density", "above 0, at most 1", fmt::format("{}", density));
  if (rounds < 1) throw UserError("synflow", "rounds", "at least 1", fmt::format("{}", rounds));
  SynFlowResult result;
  std::vector<at::Tensor> magnitudes;
  int64_t total = 0;
  for (const auto& weight : weights) {
    magnitudes.push_back(weight.to(at::kDouble).abs().contiguous());
    result.keep.push_back(at::ones(weight.sizes(), at::kBool));
    result.round_removed.push_back(at::zeros(weight.sizes(), at::kLong));
    total += weight.numel();
  }
  if (total == 0) user_error("synflow: there are no weights to rank");
  for (int64_t round = 1; round <= rounds; ++round) {
    check_interrupted();
    const auto scores = scores_of(masked_layers(magnitudes, result.keep));
    ESP_ASSERT(scores.size() == weights.size());
    if (round == 1) result.first_scores = scores;
    const double left = std::pow(density, static_cast<double>(round) / static_cast<double>(rounds));
    const auto order = ranked(scores, result.keep);
    WideCut cut = cut_of(order, removal_count(1 - left, total));
    for (size_t l = 0; l < order.size(); ++l) {
      const at::Tensor before = result.keep[l].clone();
      apply_wide_cut(cut, doubles(order[l]), mask_bytes(result.keep[l]));
      result.round_removed[l].masked_fill_(before.logical_and(result.keep[l].logical_not()), round);
    }
  }
  for (const auto& keep : result.keep) result.density.push_back(keep.numel() ? keep.sum().item<double>() / static_cast<double>(keep.numel()) : 1.0);
  return result;
}

}  // namespace espalier
