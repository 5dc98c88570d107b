// 16 Rethinking the Value of Network Pruning (2018): is a pruned network better than one of its shape trained from scratch
// under the same budget? Here the budgets, the study's own small pruners and its verdict.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

// kAll: as the released counter has it, one more for each value that a bias is added to, a norm or an activation gives.
enum class Counted { kLayers, kAll };

// Multiply-adds of Linear layers and convolutions at the inferred shapes; biases, norms and activations do not count.
int64_t layer_multiply_adds(const Graph& graph, Counted counted = Counted::kLayers);

// scratch-B: as many epochs as cost what `epochs` cost the dense model, int(epochs · dense / pruned); with a cap at most
// int(cap · epochs).
int64_t scratch_b_epochs(int64_t epochs, int64_t dense_macs, int64_t pruned_macs, std::optional<double> cap = std::nullopt);
// int(share · epochs) of each share: the rate falls at the same places of every run.
std::vector<int64_t> drop_epochs(int64_t epochs, const std::vector<double>& shares = {0.5, 0.75});

at::Tensor filter_l1(const at::Tensor& weight);                           // [out]: sum of |W| of each filter
std::vector<int64_t> highest_l1_filters(const at::Tensor& weight, int64_t keep);  // ascending

// Per stage (lists of layers) the density that a pruner reached there, for all its layers: pruning as a guide to widths.
struct GuidedDensities {
  std::vector<double> stage, layer;
  double uniform = 0;  // of all layers together
};
GuidedDensities guided_densities(const std::vector<std::vector<int64_t>>& stages, const std::vector<int64_t>& sizes, const std::vector<int64_t>& kept);

struct ControlVerdict {
  double scratch_mean = 0, finetune_mean = 0;
  double scratch_std = 0, finetune_std = 0;  // unbiased
  double difference = 0, standard_error = 0;
  std::string text;  // "scratch at least equal", "inherited weights help" or "undecided"
};
// Metrics of the seeds of both arms, in the margin's unit (points of accuracy). UserError with fewer than two seeds.
ControlVerdict control_verdict(const std::vector<double>& scratch, const std::vector<double>& finetune, double margin = 0.2);

}  // namespace espalier
