#include "espalier/io/onnx/reader.h"

#include "espalier/core/error.h"
#include "espalier/io/onnx/external.h"
#include "espalier/io/onnx/fields.h"
#include "espalier/io/onnx/parse_parts.h"
#include "espalier/io/onnx/validate.h"

namespace espalier {
namespace {

namespace field = onnx_field;

OnnxOpset parse_opset(OnnxParse& parse, std::string_view message) {
  OnnxOpset opset;
  for (MessageReader fields(parse, message, "OperatorSetIdProto", opset.extras); fields.next();) {
    if (fields.field() == field::opset::kDomain) {
      fields.text(opset.domain);
    } else if (fields.field() == field::opset::kVersion) {
      fields.integer(opset.version);
    } else {
      fields.unknown();
    }
  }
  return opset;
}

void parse_function_field(MessageReader& fields, OnnxFunction& function) {
  switch (fields.field()) {
    case field::function::kName:
      return fields.text(function.name);
    case field::function::kInput:
      return fields.texts(function.inputs);
    case field::function::kOutput:
      return fields.texts(function.outputs);
    case field::function::kAttribute:
      return fields.texts(function.attributes);
    case field::function::kNode:
      return fields.messages(function.nodes, parse_onnx_node);
    case field::function::kDoc:
      return fields.text(function.doc_string);
    case field::function::kOpsetImport:
      return fields.messages(function.opset_imports, parse_opset);
    case field::function::kDomain:
      return fields.text(function.domain);
    case field::function::kAttributeProto:
      return fields.messages(function.attribute_defaults, parse_onnx_attribute);
    case field::function::kValueInfo:
      return fields.messages(function.value_infos, parse_onnx_value_info);
    case field::function::kOverload:
      return fields.text(function.overload);
    case field::function::kMetadata:
      return fields.messages(function.metadata_props, parse_onnx_entry);
    default:
      return fields.unknown();
  }
}

OnnxFunction parse_function(OnnxParse& parse, std::string_view message) {
  OnnxFunction function;
  for (MessageReader fields(parse, message, "FunctionProto", function.extras); fields.next();)
    parse_function_field(fields, function);
  return function;
}

void parse_model_field(MessageReader& fields, OnnxModel& model) {
  switch (fields.field()) {
    case field::model::kIrVersion:
      return fields.integer(model.ir_version);
    case field::model::kProducerName:
      return fields.text(model.producer_name);
    case field::model::kProducerVersion:
      return fields.text(model.producer_version);
    case field::model::kDomain:
      return fields.text(model.domain);
    case field::model::kModelVersion:
      return fields.integer(model.model_version);
    case field::model::kDoc:
      return fields.text(model.doc_string);
    case field::model::kGraph:
      return fields.message(model.graph, parse_onnx_graph);
    case field::model::kOpsetImport:
      return fields.messages(model.opset_imports, parse_opset);
    case field::model::kMetadata:
      return fields.messages(model.metadata_props, parse_onnx_entry);
    case field::model::kFunctions:
      return fields.messages(model.functions, parse_function);
    default:
      return fields.unknown();
  }
}

void parse_graph_field(MessageReader& fields, OnnxGraph& graph) {
  switch (fields.field()) {
    case field::graph::kNode:
      return fields.messages(graph.nodes, parse_onnx_node);
    case field::graph::kName:
      return fields.text(graph.name);
    case field::graph::kInitializer:
      return fields.messages(graph.initializers, parse_onnx_tensor);
    case field::graph::kSparseInitializer:
      return fields.messages(graph.sparse_initializers, parse_onnx_sparse);
    case field::graph::kDoc:
      return fields.text(graph.doc_string);
    case field::graph::kInput:
      return fields.messages(graph.inputs, parse_onnx_value_info);
    case field::graph::kOutput:
      return fields.messages(graph.outputs, parse_onnx_value_info);
    case field::graph::kValueInfo:
      return fields.messages(graph.value_infos, parse_onnx_value_info);
    case field::graph::kMetadata:
      return fields.messages(graph.metadata_props, parse_onnx_entry);
    default:
      return fields.unknown();
  }
}

}  // namespace

OnnxGraph parse_onnx_graph(OnnxParse& parse, std::string_view message) {
  OnnxGraph graph;
  for (MessageReader fields(parse, message, "GraphProto", graph.extras); fields.next();)
    parse_graph_field(fields, graph);
  return graph;
}

OnnxModel parse_onnx(std::span<const std::byte> bytes, const std::string& where, std::shared_ptr<const void> owner) {
  OnnxParse parse{bytes, where, std::move(owner)};
  OnnxModel model;
  const std::string_view message(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (MessageReader fields(parse, message, "ModelProto", model.extras); fields.next();)
    parse_model_field(fields, model);
  if (!model.extras.has(field::model::kGraph)) throw UserError(where, "graph", "one", "none");
  return model;
}

OnnxModel read_onnx(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  OnnxModel model = parse_onnx({file->data(), static_cast<size_t>(file->size())}, path.string(), file);
  model.path = path;
  model.files.push_back(file);
  open_external_data(model);
  validate_onnx(model, path.string());
  return model;
}

}  // namespace espalier
