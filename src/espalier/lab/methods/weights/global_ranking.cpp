#include "espalier/lab/methods/weights/global_ranking.h"

#include "espalier/core/error.h"
#include "espalier/lab/allocation/global_magnitude.h"
#include "espalier/lab/allocation/min_keep_rates.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

std::vector<LayerWeights> weights_of(const PruneJob& job, const std::vector<NodeId>& linears) {
  std::vector<LayerWeights> layers;
  for (NodeId n : linears) {
    const auto& node = job.graph().nodes[static_cast<size_t>(n)];
    layers.push_back({node.params.at("weight"), job.graph().parameter_of(node, "weight").count(),
                      [&job, n] { return job.stored_weight(n); }});
  }
  return layers;
}

// The released rule instead of the exact one: rates are refined, then each layer loses its own smallest.
std::vector<int64_t> refined_counts(const PruneJob& job, const GlobalCut& plain, int64_t min_keep) {
  std::vector<double> sizes, rates;
  for (size_t l = 0; l < plain.layer_size.size(); ++l) {
    sizes.push_back(static_cast<double>(plain.layer_size[l]));
    rates.push_back(1 - plain.density(l));
  }
  const RefinedRates refined = refine_rates(sizes, rates, job.sparsity(), min_keep);
  if (!refined.converged)
    user_error("{}: mt_rule rescale reaches only {:.4f} of the asked sparsity {}", job.method().id, refined.overall,
               job.sparsity());
  std::vector<int64_t> counts;
  for (size_t l = 0; l < sizes.size(); ++l) counts.push_back(layer_removal(refined.sparsity[l], plain.layer_size[l]));
  return counts;
}

Json density_table(const std::vector<LayerWeights>& layers, const std::vector<int64_t>& counts) {
  Json table = Json::array();
  for (size_t l = 0; l < layers.size(); ++l) {
    const int64_t size = layers[l].size, kept = size - counts[l];
    const double density = size ? static_cast<double>(kept) / static_cast<double>(size) : 1.0;
    table.push_back({{"layer", layers[l].name}, {"size", size}, {"kept", kept}, {"density", density}});
  }
  return table;
}

// The exact rule removes exactly k; how far the released one gets depends on the weights, so the plan says what is asked.
void count_globally(PruneJob& job, const RankedLayers& ranked, const std::vector<LayerWeights>& layers, int64_t min_keep) {
  const int64_t remove = removal_count(job.sparsity(), ranked.total);
  int64_t open = 0;
  for (const auto& layer : layers) open += layer.size - std::min(min_keep, layer.size);
  if (remove > open)
    throw UserError(job.method().id, "min_keep", fmt::format("to leave {} weights to remove", remove), fmt::format("{}", open));
  job.reached(static_cast<double>(remove) / static_cast<double>(ranked.total));
}

}  // namespace

RankedLayers ranked_layers(const PruneJob& job, std::vector<NodeId> linears) {
  RankedLayers layers{std::move(linears), 0};
  for (NodeId n : layers.linears)
    layers.total += job.graph().parameter_of(job.graph().nodes[static_cast<size_t>(n)], "weight").count();
  if (layers.total == 0)
    user_error("{}: no tensor can be pruned: everything is protected or excluded", job.method().id);
  return layers;
}

void prune_globally(PruneJob& job, const RankedLayers& ranked, int64_t min_keep, MinimumRule rule) {
  const auto layers = weights_of(job, ranked.linears);
  if (job.trial()) return count_globally(job, ranked, layers, min_keep);
  const bool exact = rule == MinimumRule::kExact;
  const GlobalCut cut = global_magnitude(layers, job.sparsity(), exact ? min_keep : 0);
  const auto counts = exact ? cut.layer_removed : refined_counts(job, cut, min_keep);
  const auto apply = [&](int block) {
    for (size_t l = 0; l < layers.size(); ++l) {
      if (job.graph().nodes[static_cast<size_t>(ranked.linears[l])].block != block) continue;
      const at::Tensor stored = layers[l].load();
      job.mask_stored(ranked.linears[l], exact ? magnitude_cut_mask(stored, cut.cuts[l])
                                               : magnitude_count_mask(stored, counts[l], layers[l].name));
    }
  };
  Json state = Json::object();
  job.for_each_block_without_data([&](int block, Json&) { apply(block); }, state);
  // What lies outside the blocks is not checkpointed; its masks are made anew when a run is resumed.
  for (int outside : {-1, job.graph().block_count}) apply(outside);
  job.findings() = {{"threshold", cut.threshold}, {"layers", density_table(layers, counts)}};
  int64_t removed = 0;
  for (int64_t count : counts) removed += count;
  job.reached(static_cast<double>(removed) / static_cast<double>(ranked.total));
}

}  // namespace espalier
