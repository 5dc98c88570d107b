#include "espalier/lab/measure/probe.h"

#include "espalier/core/rng.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

at::Tensor ids(const Shape& shape, int64_t below) {
  const at::Tensor flat = at::arange(element_count(shape), at::kLong);
  return at::remainder(flat, below).view(shape);
}

at::Tensor noise(const Shape& shape, Rng& rng) {
  at::Tensor values = at::empty(shape);
  float* data = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) data[i] = static_cast<float>(rng.uniform());
  return values;
}

}  // namespace

std::vector<at::Tensor> probe_inputs(const Model& model, uint64_t seed, int64_t batch) {
  if (model.task == Task::kText) return {ids({batch, 8}, model.vocab_size)};
  std::vector<at::Tensor> inputs;
  Rng rng(seed, "probe");
  for (size_t i = 0; i < model.example_inputs.size(); ++i) {
    Shape shape = model.example_inputs[i];
    if (!shape.empty() && batch != 1) shape[0] *= batch;
    // Token ids and masks alike take 0 and 1.
    inputs.push_back(model.input_dtypes[i] == DType::kI64 ? ids(shape, 2) : noise(shape, rng));
  }
  return inputs;
}

std::vector<at::Tensor> run_graph(const Graph& graph, const std::vector<at::Tensor>& inputs) {
  at::NoGradGuard no_gradients;
  Weights weights(graph);
  Environment values;
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs.at(i)] = inputs[i];
  const Interpreter interpreter(graph, weights);
  for (NodeId n = 0; n < static_cast<NodeId>(graph.nodes.size()); ++n) {
    interpreter.run(values, n, n + 1);
    weights.release_all();  // a model may be larger than memory in fp32
  }
  std::vector<at::Tensor> outputs;
  for (ValueId output : graph.outputs) outputs.push_back(values.at(output));
  return outputs;
}

}  // namespace espalier
