#include "espalier/families/onnx/export.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "espalier/core/error.h"
#include "espalier/families/onnx/export_emitter.h"
#include "espalier/families/onnx/export_versions.h"

namespace espalier {
namespace {

using Infos = std::unordered_map<std::string, const OnnxValueInfo*>;

Infos by_name(const std::vector<OnnxValueInfo>& values) {
  Infos infos;
  for (const OnnxValueInfo& value : values) infos.emplace(value.name, &value);
  return infos;
}

// What the source says of the value, with the sizes that it has now. Names of sizes stay.
OnnxValueInfo info_of(const OnnxEmitter& emitter, ValueId value, const std::string& name, const OnnxValueInfo* known) {
  OnnxValueInfo info = known ? *known : OnnxValueInfo{};
  info.name = name;
  const size_t rank = emitter.shapes().shape(value).size();
  const bool same_rank = known && known->type.has_shape && known->type.shape.size() == rank;
  info.type.kind = OnnxType::Kind::kTensor;
  if (emitter.type_of(value) != OnnxDataType::kUndefined) info.type.elem_type = emitter.type_of(value);
  if (known && !known->type.has_shape) return info;  // not even the rank was known, and readers live with that
  info.type.has_shape = true;
  if (!same_rank) info.type.shape.assign(rank, {});
  for (size_t axis = 0; axis < rank; ++axis) {
    OnnxDim& dim = info.type.shape[axis];
    const OnnxDim now = emitter.shapes().dim(value, axis);
    if (same_rank && !dim.fixed()) continue;
    dim.value = now.value;
    dim.param = now.param;
  }
  return info;
}

void write_inputs(OnnxEmitter& emitter, const Graph& graph, const OnnxSource* source, OnnxGraph& out) {
  if (!source) {
    for (ValueId input : graph.inputs) out.inputs.push_back(info_of(emitter, input, emitter.name_of(input), nullptr));
    return;
  }
  std::unordered_map<std::string, const OnnxTensor*> weights;
  for (const OnnxTensor& tensor : out.initializers) weights.emplace(tensor.name, &tensor);
  std::unordered_set<std::string> gone;  // weights that nobody reads any more
  for (const OnnxTensor& tensor : source->model.graph.initializers) gone.insert(tensor.name);
  for (const OnnxSparseTensor& tensor : source->model.graph.sparse_initializers) gone.insert(tensor.values.name);
  for (const OnnxValueInfo& input : source->model.graph.inputs) {
    const auto own = std::find_if(graph.inputs.begin(), graph.inputs.end(), [&](ValueId value) {
      return graph.values[static_cast<size_t>(value)].name == input.name;
    });
    if (own != graph.inputs.end()) {
      out.inputs.push_back(info_of(emitter, *own, input.name, &input));
    } else if (const auto weight = weights.find(input.name); weight != weights.end()) {
      out.inputs.push_back(input);
      out.inputs.back().type.shape.clear();
      for (int64_t size : weight->second->dims) out.inputs.back().type.shape.push_back({size, "", "", {}});
    } else if (!gone.count(input.name)) {
      out.inputs.push_back(input);  // the graph does not read it, but callers give it
    }
  }
}

// Up to IR version 3 every initialiser is an input too.
void declare_initializers(OnnxModel& model) {
  if (model.ir_version > 3) return;
  const Infos known = by_name(model.graph.inputs);
  std::vector<OnnxValueInfo> added;
  for (const OnnxTensor& tensor : model.graph.initializers) {
    if (known.count(tensor.name)) continue;
    OnnxValueInfo info;
    info.name = tensor.name;
    info.type.kind = OnnxType::Kind::kTensor;
    info.type.elem_type = tensor.data_type;
    info.type.has_shape = true;
    for (int64_t size : tensor.dims) info.type.shape.push_back({size, "", "", {}});
    added.push_back(std::move(info));
  }
  model.graph.inputs.insert(model.graph.inputs.end(), added.begin(), added.end());
}

void write_values(const OnnxEmitter& emitter, const Graph& graph, const OnnxSource* source, OnnxGraph& out) {
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const bool known = source && i < source->model.graph.outputs.size();
    out.outputs.push_back(info_of(emitter, graph.outputs[i], emitter.output_name(i),
                                  known ? &source->model.graph.outputs[i] : nullptr));
  }
  if (!source) return;
  std::unordered_map<std::string, ValueId> produced;
  for (const Node& node : graph.nodes)
    for (ValueId value : node.outputs)
      if (node.op != "Constant") produced[emitter.name_of(value)] = value;
  for (const OnnxValueInfo& info : source->model.graph.value_infos) {
    const auto value = produced.find(info.name);
    if (value == produced.end() || graph.values[static_cast<size_t>(value->second)].name != info.name) continue;
    const bool same_type = info.type.elem_type == emitter.type_of(value->second);
    if (info.type.kind == OnnxType::Kind::kTensor && same_type)
      out.value_infos.push_back(info_of(emitter, value->second, info.name, &info));
  }
}

// A node that makes the same value with the same operator keeps its texts.
void keep_texts(std::vector<OnnxNode>& nodes, const OnnxModel& source) {
  std::unordered_map<std::string, const OnnxNode*> makers;
  for (const OnnxNode& node : source.graph.nodes)
    for (const std::string& output : node.outputs) makers.emplace(output, &node);
  for (OnnxNode& node : nodes) {
    if (node.outputs.empty()) continue;
    const auto maker = makers.find(node.outputs.front());
    if (maker == makers.end() || maker->second->op_type != node.op_type || !node.domain.empty()) continue;
    node.doc_string = maker->second->doc_string;
    node.metadata_props = maker->second->metadata_props;
  }
}

// Everything beside nodes, tensors and values.
OnnxModel frame_of(const OnnxSource* source, int64_t opset) {
  OnnxModel model;
  if (!source) {
    model.ir_version = min_ir_of(opset);
    model.producer_name = "espalier";
    model.producer_version = ESPALIER_VERSION;
    model.graph.name = "espalier";
    return model;
  }
  const OnnxModel& from = source->model;
  const bool same_opset = opset_version(from.opset_imports, "") == opset;
  model.ir_version = same_opset ? from.ir_version : std::max(from.ir_version, min_ir_of(opset));
  model.producer_name = from.producer_name;
  model.producer_version = from.producer_version;
  model.domain = from.domain;
  model.model_version = from.model_version;
  model.doc_string = from.doc_string;
  model.metadata_props = from.metadata_props;
  model.extras = from.extras;
  model.path = from.path;
  model.files = from.files;
  model.graph.name = from.graph.name;
  model.graph.doc_string = from.graph.doc_string;
  model.graph.metadata_props = from.graph.metadata_props;
  model.graph.extras = from.graph.extras;
  return model;
}

}  // namespace

OnnxModel export_onnx(const Graph& graph, const std::vector<Shape>& input_shapes, const OnnxSource* source,
                      const OnnxExportOptions& options) {
  const int64_t opset = export_opset(graph, source, options.opset);
  const OpenShapes shapes(graph, input_shapes, open_sizes(graph, input_shapes, source ? &source->model.graph : nullptr));
  OnnxEmitter emitter(graph, shapes, source, opset);
  emitter.emit_all();
  OnnxModel model = frame_of(source, opset);
  model.graph.nodes = std::move(emitter.nodes());
  if (source) keep_texts(model.graph.nodes, source->model);
  model.graph.initializers = emitter.take_initializers();
  write_inputs(emitter, graph, source, model.graph);
  write_values(emitter, graph, source, model.graph);
  declare_initializers(model);
  keep_used_versions(model, source ? &source->model : nullptr, opset);
  return model;
}

}  // namespace espalier
