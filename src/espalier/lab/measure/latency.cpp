#include "espalier/lab/measure/latency.h"

#include <algorithm>
#include <chrono>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/probe.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

std::vector<at::Tensor> inputs_of(const Model& model) {
  if (model.task != Task::kText) return probe_inputs(model, 0);
  const int64_t tokens = std::min<int64_t>(model.context_length, 128);
  return {at::remainder(at::arange(tokens, at::kLong), model.vocab_size).unsqueeze(0)};
}

}  // namespace

struct ForwardTimer::Runner {
  std::vector<at::Tensor> inputs;
  Weights weights;
  Interpreter interpreter;

  Runner(const Graph& graph, std::vector<at::Tensor> given) : inputs(std::move(given)), weights(graph), interpreter(graph, weights) {
    run();  // loads the weights
  }

  double run() {
    at::NoGradGuard no_gradients;
    const auto start = std::chrono::steady_clock::now();
    const Graph& graph = interpreter.graph();
    Environment values;
    for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i]] = inputs[i];
    interpreter.run(values, 0, static_cast<NodeId>(graph.nodes.size()));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
};

ForwardTimer::ForwardTimer(const Model& dense) : dense_(std::make_unique<Runner>(dense.graph, inputs_of(dense))) {}
ForwardTimer::~ForwardTimer() = default;

TimeRatio ForwardTimer::ratio_of(const Graph& graph, const TimingLimits& limits) const {
  Runner cut(graph, dense_->inputs);
  return measure_time_ratio([&] { return dense_->run(); }, [&] { return cut.run(); }, limits);
}

}  // namespace espalier
