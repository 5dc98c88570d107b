#include "espalier/lab/measure/class_scores.h"

#include <algorithm>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr int64_t kMostPictures = 64;
constexpr double kBatchBytes = 256e6;  // of the values that live at once, whatever the model: an 8 GB machine has more

bool only_reshapes(const std::string& op) { return op == "Flatten" || op == "Reshape" || op == "Squeeze"; }

// The most that a node reads and writes, and as much again for what its kernel needs.
double bytes_a_picture(const Graph& graph) {
  double most = 0;
  for (const auto& node : graph.nodes) {
    double elements = 0;
    for (const auto* list : {&node.inputs, &node.outputs})
      for (ValueId value : *list)
        elements += static_cast<double>(element_count(graph.values[static_cast<size_t>(value)].shape));
    most = std::max(most, elements);
  }
  return most * sizeof(float) * 2;
}

bool takes_batch(Graph& graph, std::vector<int64_t> shape, int64_t batch) {
  shape.insert(shape.begin(), batch);
  try {
    infer_shapes(graph, {shape});
  } catch (const UserError&) {
    return false;
  }
  const Shape& out = graph.values[static_cast<size_t>(graph.outputs.at(0))].shape;
  return !out.empty() && out[0] == batch;
}

}  // namespace

bool gives_probabilities(const Graph& graph) {
  auto node = graph.producer(graph.outputs.at(0));
  while (node && only_reshapes(graph.nodes[static_cast<size_t>(*node)].op))
    node = graph.producer(graph.nodes[static_cast<size_t>(*node)].inputs.at(0));
  return node && graph.nodes[static_cast<size_t>(*node)].op == "Softmax";
}

at::Tensor class_log_probabilities(const Graph& graph, const at::Tensor& output, int64_t pictures) {
  if (output.dim() < 2 || output.size(0) != pictures || output.numel() != pictures * output.size(1) ||
      !output.is_floating_point())
    throw UserError("model output", "class scores", fmt::format("[{}, classes]", pictures),
                    to_string(output.sizes().vec()));
  const at::Tensor scores = output.flatten(1).to(at::kFloat);
  if (gives_probabilities(graph)) return scores.clamp_min(std::numeric_limits<float>::min()).log();
  return at::log_softmax(scores, -1);
}

int64_t batch_that_fits(const Graph& graph, const std::vector<int64_t>& shape, int64_t wanted) {
  if (graph.inputs.size() != 1)
    throw UserError("model", "inputs", "one, the pictures", fmt::format("{}", graph.inputs.size()));
  Graph shaped = graph.clone();
  std::vector<int64_t> one = shape;
  one.insert(one.begin(), 1);
  infer_shapes(shaped, {one});
  if (wanted == 0)
    wanted = std::clamp<int64_t>(static_cast<int64_t>(kBatchBytes / bytes_a_picture(shaped)), 1, kMostPictures);
  return takes_batch(shaped, shape, wanted) ? wanted : 1;
}

}  // namespace espalier
