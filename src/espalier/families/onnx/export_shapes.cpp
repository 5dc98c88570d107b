#include "espalier/families/onnx/export_shapes.h"

#include <algorithm>
#include <optional>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier {
namespace {

std::vector<OpenSize> sizes_of_source(const Graph& graph, const OnnxGraph& source) {
  std::vector<OpenSize> sizes;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const std::string& name = graph.values[static_cast<size_t>(graph.inputs[i])].name;
    const auto info = std::find_if(source.inputs.begin(), source.inputs.end(),
                                   [&](const OnnxValueInfo& input) { return input.name == name; });
    if (info == source.inputs.end()) continue;
    for (size_t axis = 0; axis < info->type.shape.size(); ++axis) {
      const OnnxDim& dim = info->type.shape[axis];
      if (dim.fixed()) continue;
      const auto known = std::find_if(sizes.begin(), sizes.end(), [&](const OpenSize& size) {
        return !dim.param.empty() && size.name == dim.param;
      });
      (known == sizes.end() ? sizes.emplace_back(OpenSize{dim.param, {}}) : *known).places.emplace_back(i, axis);
    }
  }
  return sizes;
}

std::optional<std::vector<Value>> infer_with(Graph& graph, std::vector<Shape> inputs, const OpenSize& open,
                                             int64_t size) {
  for (const auto& [input, axis] : open.places) inputs.at(input).at(axis) = size;
  try {
    infer_shapes(graph, inputs);
    return graph.values;
  } catch (const UserError&) {
    return std::nullopt;
  }
}

}  // namespace

bool is_token_ids(const Graph& graph, ValueId value) {
  const auto readers = graph.consumers(value);
  return !readers.empty() && std::all_of(readers.begin(), readers.end(), [&](NodeId reader) {
    const std::string& op = graph.nodes[static_cast<size_t>(reader)].op;
    return op == "Embedding" || op == "PositionEmbedding";
  });
}

std::vector<OpenSize> open_sizes(const Graph& graph, const std::vector<Shape>& inputs, const OnnxGraph* source) {
  if (source) return sizes_of_source(graph, *source);
  OpenSize batch{"batch", {}}, tokens{"tokens", {}};
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].empty()) batch.places.emplace_back(i, 0);
    if (inputs[i].size() == 2 && is_token_ids(graph, graph.inputs[i])) tokens.places.emplace_back(i, 1);
  }
  std::vector<OpenSize> sizes;
  for (OpenSize* size : {&batch, &tokens})
    if (!size->places.empty()) sizes.push_back(std::move(*size));
  return sizes;
}

OpenShapes::OpenShapes(const Graph& graph, const std::vector<Shape>& inputs, const std::vector<OpenSize>& open) {
  Graph work = graph.clone();
  infer_shapes(work, inputs);
  base_ = work.values;
  for (const OpenSize& size : open) {
    const auto& [input, axis] = size.places.front();
    const int64_t before = inputs.at(input).at(axis);
    // One less where one more is too much, as for positions that end.
    for (int64_t after : {before + 1, before - 1}) {
      if (after < 1) continue;
      auto values = infer_with(work, inputs, size, after);
      if (!values) continue;
      runs_.push_back({size.name, before, after, std::move(*values)});
      break;
    }
  }
}

bool OpenShapes::is_fixed(ValueId value, size_t axis) const {
  const int64_t size = shape(value).at(axis);
  return std::all_of(runs_.begin(), runs_.end(), [&](const Run& run) {
    return run.values[static_cast<size_t>(value)].shape.at(axis) == size;
  });
}

std::string OpenShapes::signature(ValueId value, size_t axis) const {
  std::string text = std::to_string(shape(value).at(axis));
  for (const Run& run : runs_) text += fmt::format(",{}", run.values[static_cast<size_t>(value)].shape.at(axis));
  return text;
}

OnnxDim OpenShapes::dim(ValueId value, size_t axis) const {
  const int64_t size = shape(value).at(axis);
  OnnxDim dim;
  int changes = 0;
  for (const Run& run : runs_) {
    const int64_t changed = run.values[static_cast<size_t>(value)].shape.at(axis);
    if (changed == size) continue;
    ++changes;
    if (size == run.before && changed == run.after) dim.param = run.name;
  }
  if (changes == 0) dim.value = size;
  if (changes > 1) dim.param.clear();
  return dim;
}

}  // namespace espalier
