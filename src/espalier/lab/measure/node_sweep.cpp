#include "espalier/lab/measure/node_sweep.h"

#include "espalier/core/error.h"
#include "espalier/core/signals.h"
#include "espalier/lab/torch.h"

namespace espalier {

NodeSweep::NodeSweep(const Graph& graph, const std::vector<GraphInputs>& batches)
    : graph_(graph), weights_(graph), interpreter_(graph, weights_), values_(batches.size()) {
  for (size_t b = 0; b < batches.size(); ++b) {
    ESP_ASSERT(batches[b].size() == graph.inputs.size(), "{} inputs of {}", batches[b].size(), graph.inputs.size());
    for (size_t i = 0; i < graph.inputs.size(); ++i) values_[b][graph.inputs[i]] = batches[b][i];
  }
}

void NodeSweep::advance() {
  check_interrupted();
  at::NoGradGuard no_gradients;
  weights_.release_all();  // the caller may have assigned new ones
  for (auto& values : values_) interpreter_.run(values, next_, next_ + 1);
  weights_.release_all();
  ++next_;
}

}  // namespace espalier
