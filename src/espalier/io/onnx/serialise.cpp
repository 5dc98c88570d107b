#include "espalier/io/onnx/serialise.h"

#include "espalier/core/error.h"
#include "espalier/io/onnx/fields.h"
#include "espalier/io/onnx/message_writer.h"
#include "espalier/io/protobuf.h"

namespace espalier {
namespace {

namespace field = onnx_field;
using Type = OnnxAttribute::Type;

ByteRope entry_bytes(const OnnxEntry& entry) {
  MessageWriter out(entry.extras);
  out.text(field::entry::kKey, entry.key);
  out.text(field::entry::kValue, entry.value);
  return std::move(out).finish();
}

ByteRope dim_bytes(const OnnxDim& dim) {
  MessageWriter out(dim.extras);
  if (dim.value) out.integer(field::dim::kValue, *dim.value, true);
  if (!dim.value) out.text(field::dim::kParam, dim.param);
  out.text(field::dim::kDenotation, dim.denotation);
  return std::move(out).finish();
}

ByteRope tensor_type_bytes(const OnnxType& type) {
  MessageWriter out(type.tensor_extras);
  out.integer(field::tensor_type::kElemType, static_cast<int32_t>(type.elem_type));
  if (type.has_shape) {
    MessageWriter shape(type.shape_extras);
    shape.messages(field::shape::kDim, type.shape, dim_bytes);
    out.message(field::tensor_type::kShape, std::move(shape).finish());
  }
  return std::move(out).finish();
}

ByteRope type_bytes(const OnnxType& type) {
  MessageWriter out(type.extras);
  if (type.kind == OnnxType::Kind::kTensor) out.message(field::type::kTensor, tensor_type_bytes(type));
  out.text(field::type::kDenotation, type.denotation);
  return std::move(out).finish();
}

ByteRope value_info_bytes(const OnnxValueInfo& info) {
  MessageWriter out(info.extras);
  out.text(field::value_info::kName, info.name);
  if (info.type.kind != OnnxType::Kind::kNone || info.extras.has(field::value_info::kType))
    out.message(field::value_info::kType, type_bytes(info.type));
  out.text(field::value_info::kDoc, info.doc_string);
  out.messages(field::value_info::kMetadata, info.metadata_props, entry_bytes);
  return std::move(out).finish();
}

ByteRope opset_bytes(const OnnxOpset& opset) {
  MessageWriter out(opset.extras);
  out.text(field::opset::kDomain, opset.domain);
  out.integer(field::opset::kVersion, opset.version);
  return std::move(out).finish();
}

class Serialiser {
 public:
  explicit Serialiser(const OnnxPlaces& places) : places_(places) {}

  ByteRope model(const OnnxModel& model) const {
    MessageWriter out(model.extras);
    out.integer(field::model::kIrVersion, model.ir_version);
    out.text(field::model::kProducerName, model.producer_name);
    out.text(field::model::kProducerVersion, model.producer_version);
    out.text(field::model::kDomain, model.domain);
    out.integer(field::model::kModelVersion, model.model_version);
    out.text(field::model::kDoc, model.doc_string);
    out.message(field::model::kGraph, graph(model.graph));
    out.messages(field::model::kOpsetImport, model.opset_imports, opset_bytes);
    out.messages(field::model::kMetadata, model.metadata_props, entry_bytes);
    out.messages(field::model::kFunctions, model.functions, [this](const auto& item) { return function(item); });
    return std::move(out).finish();
  }

 private:
  ByteRope graph(const OnnxGraph& graph) const {
    MessageWriter out(graph.extras);
    out.messages(field::graph::kNode, graph.nodes, [this](const auto& item) { return node(item); });
    out.text(field::graph::kName, graph.name);
    out.messages(field::graph::kInitializer, graph.initializers, [this](const auto& item) { return tensor(item); });
    out.text(field::graph::kDoc, graph.doc_string);
    out.messages(field::graph::kInput, graph.inputs, value_info_bytes);
    out.messages(field::graph::kOutput, graph.outputs, value_info_bytes);
    out.messages(field::graph::kValueInfo, graph.value_infos, value_info_bytes);
    out.messages(field::graph::kSparseInitializer, graph.sparse_initializers,
                 [this](const auto& item) { return sparse(item); });
    out.messages(field::graph::kMetadata, graph.metadata_props, entry_bytes);
    return std::move(out).finish();
  }

  ByteRope node(const OnnxNode& node) const {
    MessageWriter out(node.extras);
    out.texts(field::node::kInput, node.inputs);
    out.texts(field::node::kOutput, node.outputs);
    out.text(field::node::kName, node.name);
    out.text(field::node::kOpType, node.op_type);
    out.messages(field::node::kAttribute, node.attributes, [this](const auto& item) { return attribute(item); });
    out.text(field::node::kDoc, node.doc_string);
    out.text(field::node::kDomain, node.domain);
    out.text(field::node::kOverload, node.overload);
    out.messages(field::node::kMetadata, node.metadata_props, entry_bytes);
    return std::move(out).finish();
  }

  ByteRope attribute(const OnnxAttribute& attribute) const {
    const Type type = attribute.type;
    const bool made_here = attribute.extras.present == 0 && attribute.ref_attr_name.empty();
    const auto tensors = [this](const OnnxTensor& item) { return tensor(item); };
    const auto graphs = [this](const OnnxGraph& item) { return graph(item); };
    const auto sparse_tensors = [this](const OnnxSparseTensor& item) { return sparse(item); };
    MessageWriter out(attribute.extras);
    out.text(field::attribute::kName, attribute.name);
    out.single(field::attribute::kF, attribute.f, made_here && type == Type::kFloat);
    out.integer(field::attribute::kI, attribute.i, made_here && type == Type::kInt);
    out.text(field::attribute::kS, attribute.s, made_here && type == Type::kString);
    if (type == Type::kTensor) out.messages(field::attribute::kT, attribute.tensors, tensors);
    if (type == Type::kGraph) out.messages(field::attribute::kG, attribute.graphs, graphs);
    out.floats(field::attribute::kFloats, attribute.floats);
    out.integers(field::attribute::kInts, attribute.ints);
    out.texts(field::attribute::kStrings, attribute.strings);
    if (type == Type::kTensors) out.messages(field::attribute::kTensors, attribute.tensors, tensors);
    if (type == Type::kGraphs) out.messages(field::attribute::kGraphs, attribute.graphs, graphs);
    out.text(field::attribute::kDoc, attribute.doc_string);
    out.integer(field::attribute::kType, static_cast<int32_t>(type));
    out.text(field::attribute::kRefAttrName, attribute.ref_attr_name);
    if (type == Type::kSparseTensor)
      out.messages(field::attribute::kSparseTensor, attribute.sparse_tensors, sparse_tensors);
    if (type == Type::kSparseTensors)
      out.messages(field::attribute::kSparseTensors, attribute.sparse_tensors, sparse_tensors);
    return std::move(out).finish();
  }

  ByteRope function(const OnnxFunction& function) const {
    MessageWriter out(function.extras);
    out.text(field::function::kName, function.name);
    out.texts(field::function::kInput, function.inputs);
    out.texts(field::function::kOutput, function.outputs);
    out.texts(field::function::kAttribute, function.attributes);
    out.messages(field::function::kNode, function.nodes, [this](const auto& item) { return node(item); });
    out.text(field::function::kDoc, function.doc_string);
    out.messages(field::function::kOpsetImport, function.opset_imports, opset_bytes);
    out.text(field::function::kDomain, function.domain);
    out.messages(field::function::kAttributeProto, function.attribute_defaults,
                 [this](const auto& item) { return attribute(item); });
    out.messages(field::function::kValueInfo, function.value_infos, value_info_bytes);
    out.text(field::function::kOverload, function.overload);
    out.messages(field::function::kMetadata, function.metadata_props, entry_bytes);
    return std::move(out).finish();
  }

  ByteRope sparse(const OnnxSparseTensor& sparse) const {
    MessageWriter out(sparse.extras);
    out.message(field::sparse::kValues, tensor(sparse.values));
    out.message(field::sparse::kIndices, tensor(sparse.indices));
    out.integers(field::sparse::kDims, sparse.dims);
    return std::move(out).finish();
  }

  ByteRope tensor(const OnnxTensor& tensor) const {
    const auto place = places_.find(&tensor);
    const bool within = place == places_.end();
    const auto stored = [&](OnnxStorage storage) { return within && tensor.storage == storage; };
    const bool raw = stored(OnnxStorage::kRaw) || stored(OnnxStorage::kExternal);
    if (stored(OnnxStorage::kExternal) && !tensor.data.owner)
      user_error("tensor '{}': its external data is not opened", printable(tensor.name));
    MessageWriter out(tensor.extras);
    out.integers(field::tensor::kDims, tensor.dims);
    out.integer(field::tensor::kDataType, static_cast<int32_t>(tensor.data_type));
    if (stored(OnnxStorage::kFloats)) out.packed(field::tensor::kFloatData, tensor.data.view, kFixed32);
    if (stored(OnnxStorage::kInt32s)) out.packed(field::tensor::kInt32Data, tensor.data.view, kVarint);
    if (stored(OnnxStorage::kStrings)) out.texts(field::tensor::kStringData, tensor.strings);
    if (stored(OnnxStorage::kInt64s)) out.packed(field::tensor::kInt64Data, tensor.data.view, kVarint);
    out.text(field::tensor::kName, tensor.name);
    if (raw) out.bytes(field::tensor::kRawData, tensor.data.view);
    if (stored(OnnxStorage::kDoubles)) out.packed(field::tensor::kDoubleData, tensor.data.view, kFixed64);
    if (stored(OnnxStorage::kUint64s)) out.packed(field::tensor::kUint64Data, tensor.data.view, kVarint);
    out.text(field::tensor::kDoc, tensor.doc_string);
    if (!within) write_place(place->second, out);
    out.integer(field::tensor::kDataLocation, within ? 0 : 1);
    out.messages(field::tensor::kMetadata, tensor.metadata_props, entry_bytes);
    return std::move(out).finish();
  }

  static void write_place(const OnnxPlace& place, MessageWriter& out) {
    const OnnxEntry entries[] = {{"location", place.location, {}},
                                 {"offset", std::to_string(place.offset), {}},
                                 {"length", std::to_string(place.bytes), {}}};
    out.messages(field::tensor::kExternalData, entries, entry_bytes);
  }

  const OnnxPlaces& places_;
};

}  // namespace

ByteRope serialise_onnx(const OnnxModel& model, const OnnxPlaces& places) { return Serialiser(places).model(model); }

std::string to_string(const ByteRope& rope) {
  std::string text;
  text.reserve(rope.size());
  rope.for_each([&](std::string_view piece) { text += piece; });
  return text;
}

}  // namespace espalier
