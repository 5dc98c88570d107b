#include "espalier/lab/methods/weights/block_weights.h"

#include <algorithm>
#include <map>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

Json start_state() { return {{"weights_removed", 0}, {"weights_total", 0}}; }

void store(PruneJob& job, NodeId linear, const PrunedWeight& pruned, Json& state) {
  job.set_weight(linear, pruned.weight, pruned.keep);
  state["weights_removed"] =
      state["weights_removed"].get<int64_t>() + pruned.keep.numel() - pruned.keep.sum().item<int64_t>();
  state["weights_total"] = state["weights_total"].get<int64_t>() + pruned.keep.numel();
}

void report(PruneJob& job, const Json& state) {
  const auto total = state["weights_total"].get<double>();
  if (total == 0) user_error("{}: no weight is left to prune; everything is protected", job.method().id);
  job.reached(state["weights_removed"].get<double>() / total);
}

// One accumulator for each value that prunable layers of the block read.
template <typename Statistics>
std::map<ValueId, Statistics> gather(PruneJob& job, BlockStream& stream, const std::vector<NodeId>& linears) {
  std::map<ValueId, Statistics> statistics;
  std::map<ValueId, NodeId> first_reader;
  for (NodeId linear : linears)
    first_reader.try_emplace(job.graph().nodes[static_cast<size_t>(linear)].inputs[0], linear);
  Observer observer;
  observer.before = [&](NodeId n, const Node& node, std::vector<at::Tensor>& inputs) {
    const auto reader = first_reader.find(node.inputs[0]);
    if (reader == first_reader.end() || reader->second != n) return;
    statistics.try_emplace(node.inputs[0], inputs[0].size(-1), node.name).first->second.add(inputs[0]);
  };
  stream.observe(observer);
  return statistics;
}

void count_layers(PruneJob& job, const RemovedWeights& counts) {
  int64_t removed = 0, total = 0;
  for (NodeId layer : layers_without_blocks(job)) {
    const auto& node = job.graph().nodes[static_cast<size_t>(layer)];
    const Shape& stored = job.graph().parameter_of(node, "weight").shape();
    const int64_t rows = stored[node.flag_or("transposed", false) ? 1 : 0], size = element_count(stored);
    removed += counts(rows, size / std::max<int64_t>(1, rows), node.name);
    total += size;
  }
  report(job, {{"weights_removed", removed}, {"weights_total", total}});
}

void count_blocks(PruneJob& job, const RemovedWeights& counts) {
  if (job.graph().block_count == 0) return count_layers(job, counts);
  int64_t removed = 0, total = 0;
  for (int block = 0; block < job.graph().block_count; ++block) {
    for (NodeId linear : job.prunable_linears(block)) {
      const auto& node = job.graph().nodes[static_cast<size_t>(linear)];
      const Shape& stored = job.graph().parameter_of(node, "weight").shape();
      const bool transposed = node.flag_or("transposed", false);
      removed += counts(stored[transposed ? 1 : 0], stored[transposed ? 0 : 1], node.name);
      total += element_count(stored);
    }
  }
  report(job, {{"weights_removed", removed}, {"weights_total", total}});
}

template <typename Statistics, typename Prune>
void prune_streaming(PruneJob& job, const RemovedWeights& counts, const Prune& prune) {
  if (job.trial()) return count_blocks(job, counts);
  Json state = start_state();
  job.for_each_block(
      job.windows(), 4096,
      [&](BlockStream& stream, int block, Json& running) {
        const auto linears = job.prunable_linears(block);
        const auto statistics = gather<Statistics>(job, stream, linears);
        for (NodeId linear : linears) {
          const Node& node = job.graph().nodes[static_cast<size_t>(linear)];
          store(job, linear, prune(node, job.weight(linear), statistics.at(node.inputs[0])), running);
        }
      },
      state);
  report(job, state);
}

}  // namespace

std::vector<NodeId> layers_without_blocks(const PruneJob& job) {
  std::vector<NodeId> layers;
  std::set<std::string> taken;
  for (size_t n = 0; n < job.graph().nodes.size(); ++n) {
    const auto& node = job.graph().nodes[n];
    if (is_matrix_layer(node) && !job.is_protected(node.name) && taken.insert(node.params.at("weight")).second) layers.push_back(static_cast<NodeId>(n));
  }
  return layers;
}

RemovedWeights removed_weights(const Pattern& pattern) {
  return [pattern](int64_t rows, int64_t inputs, const std::string& name) {
    check_pattern(pattern, inputs, name);
    if (pattern.n_of_m) return rows * inputs / pattern.n_of_m->m * (pattern.n_of_m->m - pattern.n_of_m->n);
    const int64_t units = inputs / pattern.block;
    const int64_t removed = pattern.scope == Scope::kRow ? rows * removal_count(pattern.sparsity, units) : removal_count(pattern.sparsity, rows * units);
    return removed * pattern.block;
  };
}

void prune_blocks(PruneJob& job, const RemovedWeights& counts, const PruneWithoutData& prune) {
  if (job.trial()) return count_blocks(job, counts);
  Json state = start_state();
  if (job.graph().block_count == 0) {
    for (NodeId layer : layers_without_blocks(job)) {
      const at::Tensor weight = job.weight(layer);
      PrunedWeight pruned = prune(job.graph().nodes[static_cast<size_t>(layer)], weight);
      pruned.keep = pruned.keep.view_as(weight);
      store(job, layer, pruned, state);
    }
    return report(job, state);
  }
  job.for_each_block_without_data(
      [&](int block, Json& running) {
        for (NodeId linear : job.prunable_linears(block))
          store(job, linear, prune(job.graph().nodes[static_cast<size_t>(linear)], job.weight(linear)), running);
      },
      state);
  report(job, state);
}

void prune_blocks(PruneJob& job, const RemovedWeights& counts, const PruneWithNorms& prune) {
  prune_streaming<ColumnNorms>(job, counts, prune);
}
void prune_blocks(PruneJob& job, const RemovedWeights& counts, const PruneWithGram& prune) {
  prune_streaming<GramAccumulator>(job, counts, prune);
}

Pattern pattern_of(const PruneJob& job, Scope scope) {
  return {job.sparsity(), scope, job.settings().pattern, job.settings().block};
}

Scope scope_option(const PruneJob& job) {
  const std::string scope = job.option_text("scope");
  if (scope == "layer") return Scope::kLayer;
  if (scope == "row") return Scope::kRow;
  for (const auto& option : job.method().options)
    if (option.name == "scope")
      throw UserError(job.method().id, "option scope", "one of " + option.range, "'" + printable(scope) + "'");
  ESP_ASSERT(false, "method {} has no option scope", job.method().id);
}

Method weight_method(WeightMethod method) {
  return {.id = method.id,
          .name = method.name,
          .year = method.year,
          .kind = "OneShot",
          .taxonomy = {{"weight", "nm"}, "specific", {"after"}, method.data ? "unlabelled" : "none", method.criterion, "",
                       "local", "one-shot", method.repair, "", {method.data ? "llm" : "any"}},
          .needs = method.data ? std::vector<std::string>{"data"} : std::vector<std::string>{},
          .options = std::move(method.options),
          .default_of = "params",
          .of = {},
          .patterns = true,
          .needs_gram = method.gram,
          .prune = method.prune,
          .reproduce = method.reproduce};
}

}  // namespace espalier
