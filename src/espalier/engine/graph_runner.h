// Any graph that is no text decoder, compiled for fixed shapes of its inputs into a flat program: weights in oneDNN's
// order with norms folded in, activations and residuals inside the kernels, pictures channels last, one workspace that
// is planned before the first run. Same results as the laboratory's interpreter.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

struct GraphRunnerOptions {
  int threads = 1;
  // kF32, kI64 or kBool, one an input (Model::input_dtypes). Empty: kI64 for what an Embedding reads, else kF32.
  std::vector<DType> input_dtypes;
};

// Whether nodes of this operator can be run.
bool has_graph_kernel(const std::string& op);

class GraphRunner {
 public:
  // The graph is read here and not needed later; its parameters' bytes may be (mapped files stay mapped). UserError
  // where shapes do not fit, and naming node and operator where there is no kernel.
  GraphRunner(const Graph& graph, const std::vector<Shape>& input_shapes, const GraphRunnerOptions& options = {});
  ~GraphRunner();
  GraphRunner(GraphRunner&&) noexcept;
  GraphRunner& operator=(GraphRunner&&) noexcept;

  // One forward; not from two threads at once. Inputs of the shapes given above; other floating or integer types are
  // converted. UserError for wrong inputs (ids beyond an embedding's rows too).
  std::vector<Tensor> run(std::span<const Tensor> inputs);
  // The same into tensors that an earlier call gave, without allocating.
  void run(std::span<const Tensor> inputs, std::vector<Tensor>& outputs);

  const std::vector<Shape>& input_shapes() const;
  const std::vector<DType>& input_dtypes() const;
  int threads() const;
  uint64_t workspace_bytes() const;  // activations and scratch; weights come on top
  size_t step_count() const;

  struct StepTime {
    std::string node;
    double seconds;
  };
  // The median time of each step over some runs with these inputs.
  std::vector<StepTime> time_steps(std::span<const Tensor> inputs, int repeats);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier
