#include "espalier/lab/methods/training/rethinking_value.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

struct Spread {
  double mean = 0, variance = 0;
};

Spread spread_of(const std::vector<double>& values) {
  Spread spread;
  const auto n = static_cast<double>(values.size());
  for (double value : values) spread.mean += value / n;
  for (double value : values) spread.variance += (value - spread.mean) * (value - spread.mean) / (n - 1);
  return spread;
}

}  // namespace

int64_t layer_multiply_adds(const Graph& graph) {
  double flops = 0;
  for (const auto& node : graph.nodes)
    if (is_matrix_layer(node)) flops += cost_of(graph, node).flops;
  return std::llround(flops / 2);
}

int64_t scratch_b_epochs(int64_t epochs, int64_t dense_macs, int64_t pruned_macs, std::optional<double> cap) {
  if (pruned_macs < 1) throw UserError("16-rethinking-value", "multiply-adds of the pruned model", "at least 1", fmt::format("{}", pruned_macs));
  const auto equal = static_cast<int64_t>(static_cast<double>(epochs) * static_cast<double>(dense_macs) / static_cast<double>(pruned_macs));
  return cap ? std::min(equal, static_cast<int64_t>(*cap * static_cast<double>(epochs))) : equal;
}

std::vector<int64_t> drop_epochs(int64_t epochs, const std::vector<double>& shares) {
  std::vector<int64_t> drops;
  for (double share : shares) drops.push_back(static_cast<int64_t>(share * static_cast<double>(epochs)));
  return drops;
}

at::Tensor filter_l1(const at::Tensor& weight) { return weight.flatten(1).abs().sum(1); }

std::vector<int64_t> highest_l1_filters(const at::Tensor& weight, int64_t keep) {
  const at::Tensor scores = filter_l1(weight).to(at::kFloat).contiguous();
  return select_largest(float_span(scores), keep);
}

GuidedDensities guided_densities(const std::vector<std::vector<int64_t>>& stages, const std::vector<int64_t>& sizes, const std::vector<int64_t>& kept) {
  GuidedDensities found;
  found.layer.resize(sizes.size(), 1);
  double all = 0, all_kept = 0;
  for (const auto& stage : stages) {
    double size = 0, left = 0;
    for (int64_t layer : stage) {
      size += static_cast<double>(sizes.at(static_cast<size_t>(layer)));
      left += static_cast<double>(kept.at(static_cast<size_t>(layer)));
    }
    found.stage.push_back(left / size);
    for (int64_t layer : stage) found.layer[static_cast<size_t>(layer)] = left / size;
    all += size, all_kept += left;
  }
  found.uniform = all_kept / all;
  return found;
}

ControlVerdict control_verdict(const std::vector<double>& scratch, const std::vector<double>& finetune, double margin) {
  for (const auto* arm : {&scratch, &finetune})
    if (arm->size() < 2) throw UserError("16-rethinking-value", "seeds", "at least 2 of each arm for a verdict", fmt::format("{}", arm->size()));
  const Spread s = spread_of(scratch), f = spread_of(finetune);
  ControlVerdict verdict{s.mean, f.mean, std::sqrt(s.variance), std::sqrt(f.variance), s.mean - f.mean, 0, "undecided"};
  verdict.standard_error = std::sqrt(s.variance / static_cast<double>(scratch.size()) + f.variance / static_cast<double>(finetune.size()));
  if (verdict.difference >= -margin) {
    verdict.text = "scratch at least equal";
  } else if (std::abs(verdict.difference) > 2 * verdict.standard_error) {
    verdict.text = "inherited weights help";
  }
  return verdict;
}

}  // namespace espalier
