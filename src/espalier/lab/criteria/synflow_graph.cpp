#include "espalier/lab/criteria/synflow_graph.h"

#include "espalier/core/error.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

void set_other_weights(const Graph& graph, Weights& weights) {
  for (const auto& node : graph.nodes) {
    for (const auto& [role, name] : node.params) {
      const at::Tensor value = weights.get(name);
      if (!at::isFloatingType(value.scalar_type())) continue;
      weights.set(name, role == "bias" ? at::zeros(value.sizes(), at::kDouble) : value.to(at::kDouble).abs());
    }
  }
}

// The sum of the outputs for inputs of ones, norms passing on what they get.
at::Tensor flow(const Graph& graph, Weights& weights) {
  Environment values;
  const auto shapes = input_shapes(graph);
  for (size_t i = 0; i < graph.inputs.size(); ++i) values[graph.inputs[i]] = at::ones(shapes[i], at::kDouble);
  at::Tensor unnormed;
  Observer observer;
  observer.before = [&](NodeId, const Node& node, std::vector<at::Tensor>& inputs) {
    if (is_norm(node)) unnormed = inputs[0];
  };
  observer.after = [&](NodeId, const Node& node, std::vector<at::Tensor>& outputs) {
    if (is_norm(node)) outputs[0] = unnormed;
  };
  Interpreter(graph, weights).run(values, 0, static_cast<NodeId>(graph.nodes.size()), &observer);
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (ValueId output : graph.outputs) sum = sum + values.at(output).sum();
  return sum;
}

}  // namespace

SynapticScores graph_synapses(const Graph& graph, std::vector<NodeId> layers) {
  for (const auto& node : graph.nodes)
    if (node.op == "Embedding") user_error("synflow: {} reads token ids, so an input of ones means nothing; take density=expectation", node.name);
  return [&graph, layers = std::move(layers)](const std::vector<at::Tensor>& magnitudes) {
    at::AutoGradMode with_gradients(true);
    Weights weights(graph);
    set_other_weights(graph, weights);
    std::vector<at::Tensor> leaves;
    for (size_t l = 0; l < layers.size(); ++l) {
      leaves.push_back(magnitudes[l].detach().clone().set_requires_grad(true));
      weights.set(graph.nodes[static_cast<size_t>(layers[l])].params.at("weight"), leaves.back());
    }
    const auto gradients = torch::autograd::grad({flow(graph, weights)}, leaves, {}, false, false, /*allow_unused=*/true);
    std::vector<at::Tensor> scores;
    for (size_t l = 0; l < leaves.size(); ++l)
      scores.push_back(gradients[l].defined() ? magnitudes[l] * gradients[l].detach() : at::zeros_like(magnitudes[l]));
    return scores;
  };
}

}  // namespace espalier
