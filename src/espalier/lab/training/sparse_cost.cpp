#include "espalier/lab/training/sparse_cost.h"

#include <map>

#include "espalier/core/error.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/torch.h"

namespace espalier {

SparseCost::SparseCost(const Training& training, const std::vector<std::string>& pruned) {
  Graph graph = training.graph().clone();
  infer_shapes(graph, input_shapes(graph));  // of a language model nobody has yet
  std::map<std::string, double> of_weight;
  double all = 0;
  for (const auto& node : graph.nodes) {
    if (!is_matrix_layer(node)) continue;
    const double flops = cost_of(graph, node).flops;
    of_weight[node.params.at("weight")] += flops;
    all += flops;
  }
  other_ = all;
  for (const auto& name : pruned) {
    flops_.push_back(of_weight.at(name));
    other_ -= flops_.back();
  }
}

void SparseCost::set_masks(const LayerTensors& masks) {
  ESP_ASSERT(masks.size() == flops_.size());
  double sparse = other_, dense = other_;
  for (size_t l = 0; l < masks.size(); ++l) {
    dense += flops_[l];
    sparse += flops_[l] * static_cast<double>(alive_count({masks[l]})) / static_cast<double>(std::max<int64_t>(1, masks[l].numel()));
  }
  now_ = dense > 0 ? sparse / dense : 1;
}

void SparseCost::add_step(bool dense_gradient) {
  sum_ += dense_gradient ? (2 * now_ + 1) / 3 : now_;
  ++steps_;
}

double SparseCost::share() const { return steps_ > 0 ? sum_ / static_cast<double>(steps_) : 1; }

void SparseCost::save(StateStore& state) const { state.values["cost"] = {now_, sum_, steps_}; }

void SparseCost::load(const StateStore& state) {
  const Json& values = state.values.at("cost");
  now_ = values.at(0).get<double>();
  sum_ = values.at(1).get<double>();
  steps_ = values.at(2).get<int64_t>();
}

}  // namespace espalier
