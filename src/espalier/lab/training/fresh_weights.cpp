#include "espalier/lab/training/fresh_weights.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "espalier/core/rng.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/measure/layer_columns.h"

namespace espalier {
namespace {

Tensor constant(const Shape& shape, float value) {
  Tensor tensor(DType::kF32, shape);
  std::fill(tensor.mutable_as<float>().begin(), tensor.mutable_as<float>().end(), value);
  return tensor;
}

Tensor normal(const Shape& shape, double deviation, uint64_t seed, const std::string& name) {
  Tensor tensor(DType::kF32, shape);
  Rng rng(seed, "weights/" + name);
  for (float& value : tensor.mutable_as<float>()) value = static_cast<float>(deviation * rng.normal());
  return tensor;
}

// Inputs of an output, or with fan_out outputs of an input: of a group, over the kernel.
double fan_of(const Graph& graph, const Node& node, const Shape& shape, bool fan_out) {
  if (!is_weighted_layer(node))
    return static_cast<double>(element_count(shape) / std::max<int64_t>(1, fan_out ? shape[0] : shape[1]));
  const LayerShape layer = layer_shape(graph, node);
  return static_cast<double>(fan_out ? layer.outputs * layer.groups * layer.kernel : layer.inputs);
}

Tensor initial(const Graph& graph, const Node& node, const std::string& role, const Parameter& parameter, uint64_t seed, const InitialWeights& options) {
  const Shape& shape = parameter.shape();
  if (role == "bias" || role == "mean") return constant(shape, 0);
  if (node.op == "BatchNorm" && role == "weight") return constant(shape, static_cast<float>(options.norm_scale));
  if (role == "var" || (is_norm(node) && role == "weight")) return constant(shape, 1);
  if (node.op == "PRelu") return constant(shape, 0.25f);
  if (!is_matrix_layer(node)) return normal(shape, 0.02, seed, parameter.name());
  const bool classifier = std::count(graph.outputs.begin(), graph.outputs.end(), node.outputs[0]) > 0;
  const double fan = std::max(1.0, fan_of(graph, node, shape, options.fan_out && !classifier));
  return normal(shape, classifier ? std::sqrt(1 / fan) : he_deviation(fan), seed, parameter.name());
}

}  // namespace

double he_deviation(double fan) { return std::sqrt(2 / fan); }

void initialise_weights(Graph& graph, uint64_t seed, const InitialWeights& options) {
  std::set<std::string> done;
  for (const auto& node : graph.nodes) {
    for (const auto& [role, name] : node.params) {
      Parameter& parameter = graph.parameter(name);
      if (!done.insert(name).second || parameter.dtype() == DType::kI64 || parameter.dtype() == DType::kI32) continue;
      parameter.assign(initial(graph, node, role, parameter, seed, options).to(parameter.dtype()));
    }
  }
}

}  // namespace espalier
