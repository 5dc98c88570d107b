#include "espalier/lab/methods/weights/global_ranking.h"

#include "espalier/core/error.h"
#include "espalier/lab/allocation/global_magnitude.h"
#include "espalier/lab/allocation/min_keep_rates.h"
#include "espalier/lab/criteria/magnitude.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

int64_t inputs_of(const Node& node, const Parameter& weight) {
  const int64_t rows = weight.shape().at(node.flag_or("transposed", false) ? 1 : 0);
  return rows ? weight.count() / rows : 0;
}

// What is ranked: the stored weights themselves, or for blocks of a row the sums of their magnitudes.
std::vector<LayerWeights> units_of(const PruneJob& job, const std::vector<NodeId>& linears) {
  const int64_t block = job.settings().block;
  std::vector<LayerWeights> layers;
  for (NodeId n : linears) {
    const auto& node = job.graph().nodes[static_cast<size_t>(n)];
    const Parameter& parameter = job.graph().parameter_of(node, "weight");
    if (block == 1) {
      layers.push_back({node.params.at("weight"), parameter.count(), [&job, n] { return job.stored_weight(n); }});
      continue;
    }
    check_pattern({.sparsity = job.sparsity(), .block = block}, inputs_of(node, parameter), node.name);
    layers.push_back({node.params.at("weight"), parameter.count() / block,
                      [&job, n, block] { return block_sums(as_matrix(job.weight(n)).abs(), block); }});
  }
  return layers;
}

// keep: of the units.
void mask_units(PruneJob& job, NodeId linear, const at::Tensor& keep) {
  const int64_t block = job.settings().block;
  if (block == 1) return job.mask_stored(linear, keep);
  const at::Tensor weight = job.weight(linear);
  job.set_weight(linear, weight, of_blocks(keep, block).view_as(weight));
}

void prune_n_of_m(PruneJob& job, const RankedLayers& ranked, int64_t min_keep, MinimumRule rule) {
  if (min_keep > 0 || rule != MinimumRule::kExact)
    user_error("{}: an N:M pattern keeps N of every M weights in every layer: leave min_keep and mt_rule out", job.method().id);
  const Pattern pattern{.n_of_m = job.settings().pattern};
  int64_t removed = 0;
  Json state = Json::object();
  const auto apply = [&](int block) {
    for (const NodeId n : ranked.linears) {
      const Node& node = job.graph().nodes[static_cast<size_t>(n)];
      if (node.block != block) continue;
      const at::Tensor weight = job.weight(n);
      job.set_weight(n, weight, magnitude_mask(as_matrix(weight), pattern, node.name).view_as(weight));
    }
  };
  for (const NodeId n : ranked.linears) {
    const Node& node = job.graph().nodes[static_cast<size_t>(n)];
    const Parameter& parameter = job.graph().parameter_of(node, "weight");
    check_pattern(pattern, inputs_of(node, parameter), node.name);
    removed += parameter.count() / pattern.n_of_m->m * (pattern.n_of_m->m - pattern.n_of_m->n);
  }
  if (!job.trial()) {
    job.for_each_block_without_data([&](int block, Json&) { apply(block); }, state);
    for (int outside : {-1, job.graph().block_count}) apply(outside);
  }
  job.reached(static_cast<double>(removed) / static_cast<double>(ranked.total));
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

Json density_table(const std::vector<LayerWeights>& layers, const std::vector<int64_t>& counts, int64_t block) {
  Json table = Json::array();
  for (size_t l = 0; l < layers.size(); ++l) {
    const int64_t size = layers[l].size * block, kept = size - counts[l] * block;
    const double density = size ? static_cast<double>(kept) / static_cast<double>(size) : 1.0;
    table.push_back({{"layer", layers[l].name}, {"size", size}, {"kept", kept}, {"density", density}});
  }
  return table;
}

// The exact rule removes exactly k; how far the released one gets depends on the weights, so the plan says what is asked.
void count_globally(PruneJob& job, const RankedLayers& ranked, const std::vector<LayerWeights>& layers, int64_t min_keep) {
  const int64_t remove = removal_count(job.sparsity(), ranked.total / job.settings().block);
  int64_t open = 0;
  for (const auto& layer : layers) open += layer.size - std::min(min_keep, layer.size);
  if (remove > open)
    throw UserError(job.method().id, "min_keep", fmt::format("to leave {} to remove", remove), fmt::format("{}", open));
  job.reached(static_cast<double>(remove * job.settings().block) / static_cast<double>(ranked.total));
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
  if (job.settings().pattern) return prune_n_of_m(job, ranked, min_keep, rule);
  const int64_t block_size = job.settings().block;
  min_keep = (min_keep + block_size - 1) / block_size;
  const auto layers = units_of(job, ranked.linears);
  if (job.trial()) return count_globally(job, ranked, layers, min_keep);
  const bool exact = rule == MinimumRule::kExact;
  const GlobalCut cut = global_magnitude(layers, job.sparsity(), exact ? min_keep : 0);
  const auto counts = exact ? cut.layer_removed : refined_counts(job, cut, min_keep);
  const auto apply = [&](int block) {
    for (size_t l = 0; l < layers.size(); ++l) {
      if (job.graph().nodes[static_cast<size_t>(ranked.linears[l])].block != block) continue;
      const at::Tensor units = layers[l].load();
      mask_units(job, ranked.linears[l], exact ? magnitude_cut_mask(units, cut.cuts[l])
                                               : magnitude_count_mask(units, counts[l], layers[l].name));
    }
  };
  Json state = Json::object();
  job.for_each_block_without_data([&](int block, Json&) { apply(block); }, state);
  // What lies outside the blocks is not checkpointed; its masks are made anew when a run is resumed.
  for (int outside : {-1, job.graph().block_count}) apply(outside);
  job.findings() = {{"threshold", cut.threshold}, {"layers", density_table(layers, counts, block_size)}};
  int64_t removed = 0;
  for (int64_t count : counts) removed += count * block_size;
  job.reached(static_cast<double>(removed) / static_cast<double>(ranked.total));
}

}  // namespace espalier
