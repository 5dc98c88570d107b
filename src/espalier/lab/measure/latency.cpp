#include "espalier/lab/measure/latency.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/probe.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

struct Runner {
  Weights weights;
  Interpreter interpreter;
  explicit Runner(const Graph& graph) : weights(graph), interpreter(graph, weights) {}

  double run(const std::vector<at::Tensor>& inputs) {
    const auto start = std::chrono::steady_clock::now();
    const Graph& graph = interpreter.graph();
    Environment values;
    for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i]] = inputs[i];
    interpreter.run(values, 0, static_cast<NodeId>(graph.nodes.size()));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
};

}  // namespace

std::vector<double> forward_seconds(const std::vector<const Graph*>& graphs, const Model& model, int rounds) {
  at::NoGradGuard no_gradients;
  std::vector<at::Tensor> inputs = probe_inputs(model, 0);
  if (model.task == Task::kText) {
    const int64_t tokens = std::min<int64_t>(model.context_length, 128);
    inputs = {at::remainder(at::arange(tokens, at::kLong), model.vocab_size).unsqueeze(0)};
  }
  std::vector<std::unique_ptr<Runner>> runners;
  for (const Graph* graph : graphs) {
    runners.push_back(std::make_unique<Runner>(*graph));
    runners.back()->run(inputs);  // loads the weights
  }
  std::vector<std::vector<double>> times(graphs.size());
  for (int round = 0; round < rounds; ++round)
    for (size_t g = 0; g < runners.size(); ++g) times[g].push_back(runners[g]->run(inputs));
  std::vector<double> medians;
  for (auto& list : times) {
    std::nth_element(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(list.size() / 2), list.end());
    medians.push_back(list[list.size() / 2]);
  }
  return medians;
}

double forward_time_ratio(const Graph& graph, const Model& dense, int rounds) {
  const auto seconds = forward_seconds({&dense.graph, &graph}, dense, rounds);
  return seconds[1] / seconds[0];
}

}  // namespace espalier
