#include "espalier/io/onnx/fields.h"
#include "espalier/io/onnx/parse_parts.h"

namespace espalier {
namespace {

namespace field = onnx_field;
using Kind = OnnxType::Kind;

OnnxDim parse_dim(OnnxParse& parse, std::string_view message) {
  OnnxDim dim;
  MessageReader fields(parse, message, "TensorShapeProto.Dimension", dim.extras);
  while (fields.next()) {
    if (fields.field() == field::dim::kValue) {
      int64_t value = 0;
      fields.integer(value);
      dim.value = value;
    } else if (fields.field() == field::dim::kParam) {
      fields.text(dim.param);
    } else if (fields.field() == field::dim::kDenotation) {
      fields.text(dim.denotation);
    } else {
      fields.unknown();
    }
  }
  if (dim.value && dim.extras.has(field::dim::kParam)) fields.fail("value", "a number or a name", "both");
  return dim;
}

void parse_shape(OnnxParse& parse, std::string_view message, OnnxType& type) {
  type.has_shape = true;
  for (MessageReader fields(parse, message, "TensorShapeProto", type.shape_extras); fields.next();) {
    if (fields.field() == field::shape::kDim) {
      fields.messages(type.shape, parse_dim);
    } else {
      fields.unknown();
    }
  }
}

void parse_tensor_type(OnnxParse& parse, std::string_view message, OnnxType& type) {
  for (MessageReader fields(parse, message, "TypeProto.Tensor", type.tensor_extras); fields.next();) {
    if (fields.field() == field::tensor_type::kElemType) {
      fields.enumeration(type.elem_type);
    } else if (fields.field() == field::tensor_type::kShape) {
      parse_shape(parse, fields.bytes(), type);
    } else {
      fields.unknown();
    }
  }
}

Kind kind_of(uint64_t number) {
  switch (number) {
    case field::type::kTensor:
      return Kind::kTensor;
    case field::type::kSequence:
      return Kind::kSequence;
    case field::type::kMap:
      return Kind::kMap;
    case field::type::kOpaque:
      return Kind::kOpaque;
    case field::type::kSparseTensor:
      return Kind::kSparseTensor;
    case field::type::kOptional:
      return Kind::kOptional;
    default:
      return Kind::kNone;
  }
}

OnnxType parse_type(OnnxParse& parse, std::string_view message) {
  OnnxType type;
  for (MessageReader fields(parse, message, "TypeProto", type.extras); fields.next();) {
    if (fields.field() == field::type::kDenotation) {
      fields.text(type.denotation);
      continue;
    }
    const Kind kind = kind_of(fields.field());
    if (kind != Kind::kNone && type.kind != Kind::kNone) fields.fail("value", "one type", "two");
    if (kind != Kind::kNone) type.kind = kind;
    if (kind == Kind::kTensor) {
      parse_tensor_type(parse, fields.bytes(), type);
    } else {
      fields.unknown();
    }
  }
  return type;
}

}  // namespace

OnnxValueInfo parse_onnx_value_info(OnnxParse& parse, std::string_view message) {
  OnnxValueInfo info;
  for (MessageReader fields(parse, message, "ValueInfoProto", info.extras); fields.next();) {
    switch (fields.field()) {
      case field::value_info::kName:
        fields.text(info.name);
        break;
      case field::value_info::kType:
        fields.message(info.type, parse_type);
        break;
      case field::value_info::kDoc:
        fields.text(info.doc_string);
        break;
      case field::value_info::kMetadata:
        fields.messages(info.metadata_props, parse_onnx_entry);
        break;
      default:
        fields.unknown();
    }
  }
  return info;
}

}  // namespace espalier
