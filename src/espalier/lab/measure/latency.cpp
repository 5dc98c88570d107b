#include "espalier/lab/measure/latency.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/engine/graph_runner.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/probe.h"
#include "espalier/lab/tensor_bridge.h"
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
  constexpr int kLargestThreshold = 32 << 20;  // that glibc takes
  mallopt(M_MMAP_THRESHOLD, kLargestThreshold);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

template <typename Forward>
double seconds_of(Forward forward) {
  const auto start = std::chrono::steady_clock::now();
  forward();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Interpreted : public ForwardTimer::Runner {
 public:
  Interpreted(const Graph& graph, const Model& model) : inputs_(inputs_of(model)), weights_(graph), interpreter_(graph, weights_) {
    run();  // loads the weights
  }

  double run() override {
    at::NoGradGuard no_gradients;
    return seconds_of([&] {
      const Graph& graph = interpreter_.graph();
      Environment values;
      for (size_t i = 0; i < inputs_.size(); ++i) values[graph.inputs[i]] = inputs_[i];
      interpreter_.run(values, 0, static_cast<NodeId>(graph.nodes.size()));
    });
  }

 private:
  std::vector<at::Tensor> inputs_;
  Weights weights_;
  Interpreter interpreter_;
};

class InEngine : public ForwardTimer::Runner {
 public:
  InEngine(const Graph& graph, const Model& model) {
    std::vector<Shape> shapes;
    GraphRunnerOptions options{std::max(1, at::get_num_threads()), {}};
    for (const at::Tensor& input : inputs_of(model)) {
      options.input_dtypes.push_back(input.scalar_type() == at::kLong ? DType::kI64 : DType::kF32);
      inputs_.push_back(from_torch(input, options.input_dtypes.back()));
      shapes.push_back(inputs_.back().shape());
    }
    runner_ = std::make_unique<GraphRunner>(graph, shapes, options);
    outputs_ = runner_->run(inputs_);
  }

  double run() override {
    return seconds_of([&] { runner_->run(inputs_, outputs_); });
  }

 private:
  std::vector<Tensor> inputs_, outputs_;
  std::unique_ptr<GraphRunner> runner_;
};

// Decoders have an engine of their own.
bool engine_runs(const Model& model) {
  return model.task != Task::kText && std::all_of(model.graph.nodes.begin(), model.graph.nodes.end(),
                                                  [](const Node& node) { return has_graph_kernel(node.op); });
}

}  // namespace

const char* timing_place(const Model& model) { return engine_runs(model) ? "engine" : "interpreter"; }

ForwardTimer::ForwardTimer(const Model& dense) : model_(dense), in_engine_(engine_runs(dense)) {
  keep_freed_memory();
  dense_ = open(dense.graph);
}
ForwardTimer::~ForwardTimer() = default;

std::unique_ptr<ForwardTimer::Runner> ForwardTimer::open(const Graph& graph) const {
  if (in_engine_) return std::make_unique<InEngine>(graph, model_);
  return std::make_unique<Interpreted>(graph, model_);
}

TimeRatio ForwardTimer::ratio_of(const Graph& graph, const TimingLimits& limits) const {
  const auto cut = open(graph);
  return measure_time_ratio([&] { return dense_->run(); }, [&] { return cut->run(); }, limits);
}

}  // namespace espalier
