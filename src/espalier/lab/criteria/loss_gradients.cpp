#include "espalier/lab/criteria/loss_gradients.h"

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// Leaves for everything that training would move.
std::map<std::string, at::Tensor> make_leaves(const Graph& graph, Weights& weights) {
  std::map<std::string, at::Tensor> leaves;
  for (const auto& node : graph.nodes) {
    for (const auto& [role, name] : node.params) {
      if (is_statistic(node, role) || leaves.count(name)) continue;
      const at::Tensor value = weights.get(name);
      if (!at::isFloatingType(value.scalar_type())) continue;
      leaves[name] = value.detach().clone().set_requires_grad(true);
      weights.set(name, leaves[name]);
    }
  }
  return leaves;
}

class LossOfGraph {
 public:
  explicit LossOfGraph(const Graph& graph) : graph_(graph), weights_(graph), leaves_(make_leaves(graph, weights_)), interpreter_(graph, weights_) {
    for (const auto& [name, leaf] : leaves_) {
      names_.push_back(name);
      tensors_.push_back(leaf);
    }
  }

  // One entry a leaf, undefined where the loss does not depend on it.
  std::vector<at::Tensor> gradients(const LossBatch& batch, bool keep_graph) const {
    Environment values;
    for (size_t i = 0; i < graph_.inputs.size(); ++i) values[graph_.inputs[i]] = batch.inputs.at(i);
    interpreter_.run(values, 0, static_cast<NodeId>(graph_.nodes.size()));
    const at::Tensor logits = values.at(graph_.outputs.at(0)).flatten(0, -2);
    const at::Tensor loss = at::cross_entropy_loss(logits, batch.targets);
    if (!at::isfinite(loss).item<bool>()) user_error("gradients: the loss is not finite");
    return derivative(loss, keep_graph);
  }
  std::vector<at::Tensor> derivative(const at::Tensor& of, bool keep_graph) const {
    return torch::autograd::grad({of}, tensors_, {}, keep_graph, keep_graph, /*allow_unused=*/true);
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  const Graph& graph_;
  Weights weights_;
  std::map<std::string, at::Tensor> leaves_;
  Interpreter interpreter_;
  std::vector<std::string> names_;
  std::vector<at::Tensor> tensors_;
};

template <typename OfBatch>
Gradients average(const LossOfGraph& loss, const std::vector<LossBatch>& batches, OfBatch of_batch) {
  ESP_ASSERT(!batches.empty());
  Gradients sums;
  Progress progress("gradients", static_cast<int64_t>(batches.size()), "batch");
  for (const auto& batch : batches) {
    check_interrupted();
    const auto parts = of_batch(batch);
    for (size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i].defined()) continue;
      const at::Tensor share = parts[i].detach() / static_cast<double>(batches.size());
      auto [entry, fresh] = sums.try_emplace(loss.names()[i], share);
      if (!fresh) entry->second = entry->second + share;
    }
    progress.advance(1);
  }
  return sums;
}

}  // namespace

Gradients mean_gradients(const Graph& graph, const std::vector<LossBatch>& batches) {
  at::AutoGradMode with_gradients(true);
  const LossOfGraph loss(graph);
  return average(loss, batches, [&](const LossBatch& batch) { return loss.gradients(batch, false); });
}

Gradients hessian_gradient_products(const Graph& graph, const std::vector<LossBatch>& batches) {
  at::AutoGradMode with_gradients(true);
  const LossOfGraph loss(graph);
  return average(loss, batches, [&](const LossBatch& batch) {
    const auto gradients = loss.gradients(batch, true);
    at::Tensor product = at::zeros({});
    for (const auto& g : gradients)
      if (g.defined()) product = product + (g * g.detach()).sum();
    return loss.derivative(product, false);
  });
}

}  // namespace espalier
