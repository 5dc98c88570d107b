#include "espalier/lab/repair/batch_norm.h"

#include <map>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

bool has_statistics(const Node& node) {
  return node.op == "BatchNorm" && node.has_param("mean") && node.has_param("var");
}

}  // namespace

bool has_batch_statistics(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), has_statistics);
}

void reestimate_batch_norm(Graph& graph, const std::vector<at::Tensor>& batches) {
  if (!has_batch_statistics(graph)) user_error("batch norm: this model has no batch norms with running statistics");
  if (batches.empty()) user_error("batch norm: no pictures to take statistics of");
  at::NoGradGuard no_gradients;
  Weights weights(graph);
  std::map<std::string, at::Tensor> statistics;
  for (const auto& node : graph.nodes) {
    if (!has_statistics(node)) continue;
    for (const char* role : {"mean", "var"}) {
      const auto& parameter = graph.parameter_of(node, role);
      statistics[parameter.name()] = at::zeros(parameter.shape(), at::kFloat);
      weights.set(parameter.name(), statistics[parameter.name()]);
    }
  }
  Interpreter interpreter(graph, weights);
  Progress progress("batch norms", static_cast<int64_t>(batches.size()), "batch");
  for (size_t i = 0; i < batches.size(); ++i) {
    check_interrupted();
    interpreter.train_batch_norms(1.0 /
                                  static_cast<double>(i + 1));  // makes the running value the average of all so far
    interpreter.forward(batches[i]);
    progress.advance(1);
  }
  for (const auto& [name, value] : statistics)
    if (!at::isfinite(value).all().item<bool>()) user_error("batch norm: {} is not finite on these pictures", name);
  for (const auto& [name, value] : statistics) {
    auto& parameter = graph.parameter(name);
    parameter.assign(from_torch(value, parameter.dtype()));
  }
}

}  // namespace espalier
