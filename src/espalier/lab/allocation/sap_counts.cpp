#include "espalier/lab/allocation/sap_counts.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/choice.h"
#include "espalier/lab/criteria/pq_index.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, SapScope> kScopes[] = {{"global", SapScope::kGlobal}, {"layer", SapScope::kLayer}, {"neuron", SapScope::kNeuron}};

at::Tensor alive_entries(const LayerTensors& weights, const LayerTensors& masks) {
  LayerTensors parts;
  for (size_t l = 0; l < weights.size(); ++l) parts.push_back(weights[l].detach().masked_select(masks[l]));
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

SapCount prune_group(const LayerTensors& weights, const LayerTensors& masks, const SapSettings& settings, const std::string& where) {
  const at::Tensor entries = alive_entries(weights, masks);
  const SapCount count = sap_count(entries.numel(), pq_index(entries, settings.p, settings.q, where), settings);
  LayerTensors magnitudes;
  for (const auto& weight : weights) magnitudes.push_back(weight.detach().abs());
  remove_lowest(magnitudes, masks, count.removed, where);
  return count;
}

}  // namespace

SapScope sap_scope(const std::string& where, const std::string& name) { return choice_from_name(where, name, kScopes); }

void check_sap(const SapSettings& settings, const std::string& where) {
  check_pq(settings.p, settings.q, where);
  if (!(settings.eta >= 0 && std::isfinite(settings.eta))) throw UserError(where, "option eta", "at least 0", fmt::format("{}", settings.eta));
  if (!(settings.gamma > 0 && std::isfinite(settings.gamma))) throw UserError(where, "option gamma", "above 0", fmt::format("{}", settings.gamma));
  if (!(settings.beta > 0 && settings.beta <= 1)) throw UserError(where, "option beta", "above 0, at most 1", fmt::format("{}", settings.beta));
}

int64_t sap_retained(int64_t d, double index, const SapSettings& settings) {
  const double p = settings.p, q = settings.q;
  const double share = std::pow(1 + settings.eta, -q / (q - p)) * std::pow(1 - index, p * q / (q - p));
  return std::max<int64_t>(d > 0, static_cast<int64_t>(std::ceil(static_cast<double>(d) * share - 1e-9)));
}

SapCount sap_count(int64_t alive, double index, const SapSettings& settings) {
  SapCount count{.alive = alive, .retained = sap_retained(alive, index, settings), .index = index};
  if (alive == 0) return count;
  const auto d = static_cast<double>(alive);
  count.rate = std::clamp(settings.gamma * (1 - static_cast<double>(count.retained) / d), 0.0, settings.beta);
  count.removed = std::min(alive, static_cast<int64_t>(std::floor(d * count.rate + 1e-9)));
  return count;
}

std::vector<SapGroup> sap_round(const LayerTensors& weights, const LayerTensors& masks, const SapSettings& settings, const std::string& where) {
  if (settings.scope == SapScope::kGlobal) return {{-1, -1, prune_group(weights, masks, settings, where)}};
  std::vector<SapGroup> groups;
  for (size_t l = 0; l < weights.size(); ++l) {
    const auto layer = static_cast<int64_t>(l);
    if (settings.scope == SapScope::kLayer) {
      groups.push_back({layer, -1, prune_group({weights[l]}, {masks[l]}, settings, where)});
      continue;
    }
    for (int64_t row = 0; row < weights[l].size(0); ++row)
      groups.push_back({layer, row, prune_group({weights[l].select(0, row)}, {masks[l].select(0, row)}, settings, where)});
  }
  return groups;
}

}  // namespace espalier
