// Layers that are ranked together as a module, by fp64 scores of their weights. One layer's scores are in memory at a
// time, beside one number a weight for the ranking.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "espalier/core/wide_ranking.h"
#include "espalier/lab/allocation/global_magnitude.h"

namespace espalier {

// fp64 scores in the weight's shape; `name` is the layer, for errors.
using WeightScores = std::function<at::Tensor(const at::Tensor& weight, const std::string& name)>;

struct ModuleCut {
  double threshold = 0;            // the largest removed score; 0 when nothing is
  int64_t total = 0, removed = 0;  // removed = floor(ratio * total + 1e-9), exactly
  std::vector<WideCut> cuts;       // of each layer
  std::vector<int64_t> layer_removed;
};

// Removes the lowest scores of all layers together; the earlier layer, then the lower flat index first among equals.
// UserError: a ratio outside [0, 1).
ModuleCut rank_module(const std::vector<LayerWeights>& layers, double ratio, const WeightScores& scores);

// Mask (true = kept) of a weight, in its shape, by its layer's cut.
at::Tensor module_cut_mask(const at::Tensor& weight, WideCut cut, const WeightScores& scores, const std::string& name);

}  // namespace espalier
