// What the methods that prune single weights share: block by block, statistics of each layer's input, a mask or new
// weight for every prunable Linear, and the counts for the report.
#pragma once

#include <functional>

#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/methods/job.h"

namespace espalier {

struct PrunedWeight {
  at::Tensor weight, keep;  // [out, in]; keep: true where kept
};

// How many weights of a layer [rows, inputs] go. UserError when its pattern does not fit the layer.
using RemovedWeights = std::function<int64_t(int64_t rows, int64_t inputs, const std::string& name)>;
RemovedWeights removed_weights(const Pattern& pattern);

// weight is fp32 [out, in].
using PruneWithoutData = std::function<PrunedWeight(const Node& node, const at::Tensor& weight)>;
using PruneWithNorms =
    std::function<PrunedWeight(const Node& node, const at::Tensor& weight, const ColumnNorms& input)>;
using PruneWithGram =
    std::function<PrunedWeight(const Node& node, const at::Tensor& weight, const GramAccumulator& input)>;

// Convolutions and Linear layers of a model without blocks (a CNN), each weight once, what is protected left out.
std::vector<NodeId> layers_without_blocks(const PruneJob& job);

// `counts` takes the place of `prune` in a trial. A model without blocks has all its layers pruned, convolutions viewed as
// [out, in · kernel].
void prune_blocks(PruneJob& job, const RemovedWeights& counts, const PruneWithoutData& prune);
// Layers that read the same value share its statistics. A block's layers are pruned together on the statistics of its
// dense form over the pruned blocks before it; its pruned outputs feed the next.
void prune_blocks(PruneJob& job, const RemovedWeights& counts, const PruneWithNorms& prune);
void prune_blocks(PruneJob& job, const RemovedWeights& counts, const PruneWithGram& prune);

// The job's sparsity, in single weights or blocks, or N:M pattern, with this comparison group.
Pattern pattern_of(const PruneJob& job, Scope scope);
Scope scope_option(const PruneJob& job);  // option "scope": layer or row

// What the records of these methods differ in; they share the rest: single weights and N:M patterns, shares of the
// parameters, each layer for itself, at once.
struct WeightMethod {
  std::string id, name;
  int year = 0;
  std::string criterion;
  bool data = false;           // does it look at calibration text?
  bool gram = false;           // does it hold a Gram matrix of a layer's inputs?
  std::string repair;          // what it does for the survivors by itself: "none" or "calibration"
  std::vector<OptionSpec> options;
  void (*prune)(PruneJob&) = nullptr;
  Reproduction (*reproduce)(ReproduceContext&) = nullptr;
};
Method weight_method(WeightMethod method);

}  // namespace espalier
