#include "espalier/lab/measure/latency.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/probe.h"
#include "espalier/lab/torch.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace espalier {
namespace {

std::vector<at::Tensor> inputs_of(const Model& model) {
  if (model.task != Task::kText) return probe_inputs(model, 0);
  const int64_t tokens = std::min<int64_t>(model.context_length, 128);
  return {at::remainder(at::arange(tokens, at::kLong), model.vocab_size).unsqueeze(0)};
}

// Whether the heap gives freed activations back, and pays for their pages in the next forward, depends on what happens to
// lie behind them: it made the same cut take 0.73 or 1.03 of the dense net's time. So the process keeps them.
void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kLargestThreshold = 32 << 20;  // that glibc takes; activations beyond it are mapped anew each time
  mallopt(M_MMAP_THRESHOLD, kLargestThreshold);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
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

ForwardTimer::ForwardTimer(const Model& dense) {
  keep_freed_memory();
  dense_ = std::make_unique<Runner>(dense.graph, inputs_of(dense));
}
ForwardTimer::~ForwardTimer() = default;

TimeRatio ForwardTimer::ratio_of(const Graph& graph, const TimingLimits& limits) const {
  Runner cut(graph, dense_->inputs);
  return measure_time_ratio([&] { return dense_->run(); }, [&] { return cut.run(); }, limits);
}

}  // namespace espalier
