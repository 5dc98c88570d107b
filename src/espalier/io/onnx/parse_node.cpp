#include <bit>

#include "espalier/core/error.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/fields.h"
#include "espalier/io/onnx/parse_parts.h"

namespace espalier {
namespace {

namespace field = onnx_field;
using Type = OnnxAttribute::Type;

// The field that holds the value of a type, by its number; 0 for none.
constexpr uint32_t kValueField[] = {0,
                                    field::attribute::kF,
                                    field::attribute::kI,
                                    field::attribute::kS,
                                    field::attribute::kT,
                                    field::attribute::kG,
                                    field::attribute::kFloats,
                                    field::attribute::kInts,
                                    field::attribute::kStrings,
                                    field::attribute::kTensors,
                                    field::attribute::kGraphs,
                                    field::attribute::kSparseTensor,
                                    field::attribute::kSparseTensors,
                                    field::attribute::kTp,
                                    field::attribute::kTypeProtos};

constexpr uint32_t all_value_fields() {
  uint32_t mask = 0;
  for (uint32_t number : kValueField) mask |= 1u << number;
  return mask & ~1u;
}

bool parse_scalar(MessageReader& fields, OnnxAttribute& attribute) {
  switch (fields.field()) {
    case field::attribute::kName:
      return fields.text(attribute.name), true;
    case field::attribute::kF:
      return fields.single(attribute.f), true;
    case field::attribute::kI:
      return fields.integer(attribute.i), true;
    case field::attribute::kS:
      return fields.text(attribute.s), true;
    case field::attribute::kFloats:
      return fields.floats(attribute.floats), true;
    case field::attribute::kInts:
      return fields.integers(attribute.ints), true;
    case field::attribute::kStrings:
      return fields.texts(attribute.strings), true;
    case field::attribute::kType:
      return fields.enumeration(attribute.type), true;
    case field::attribute::kRefAttrName:
      return fields.text(attribute.ref_attr_name), true;
    case field::attribute::kDoc:
      return fields.text(attribute.doc_string), true;
    default:
      return false;
  }
}

// A single value goes to the list as well; should both stand there, check_value() refuses the attribute.
template <typename T, typename Read>
void parse_single(MessageReader& fields, std::vector<T>& target, Read read) {
  target.emplace_back();
  fields.message(target.back(), read);
}

void parse_nested(MessageReader& fields, OnnxAttribute& attribute) {
  switch (fields.field()) {
    case field::attribute::kT:
      return parse_single(fields, attribute.tensors, parse_onnx_tensor);
    case field::attribute::kTensors:
      return fields.messages(attribute.tensors, parse_onnx_tensor);
    case field::attribute::kG:
      return parse_single(fields, attribute.graphs, parse_onnx_graph);
    case field::attribute::kGraphs:
      return fields.messages(attribute.graphs, parse_onnx_graph);
    case field::attribute::kSparseTensor:
      return parse_single(fields, attribute.sparse_tensors, parse_onnx_sparse);
    case field::attribute::kSparseTensors:
      return fields.messages(attribute.sparse_tensors, parse_onnx_sparse);
    default:
      return fields.unknown();
  }
}

// Files of the first IR versions have no `type`: the field tells it.
void check_value(OnnxAttribute& attribute, const std::string& where) {
  const uint32_t values = attribute.extras.present & all_value_fields();
  const std::string label = fmt::format("{}: attribute '{}'", where, printable(attribute.name));
  if (!attribute.ref_attr_name.empty()) {
    if (values != 0) throw UserError(label, "value", "none beside ref_attr_name", "one");
    return;
  }
  if (attribute.type == Type::kUndefined && std::popcount(values) == 1)
    for (size_t type = 1; type < std::size(kValueField); ++type)
      if (values == 1u << kValueField[type]) attribute.type = static_cast<Type>(type);
  const auto type = static_cast<size_t>(attribute.type);
  if (type == 0 || type >= std::size(kValueField))
    throw UserError(label, "type", "1 (FLOAT) to 14 (TYPE_PROTOS)",
                    std::to_string(static_cast<int32_t>(attribute.type)));
  const uint32_t own = 1u << kValueField[type];
  const auto other = static_cast<unsigned>(std::countr_zero(values & ~own));
  if ((values & ~own) != 0)
    throw UserError(label, "value", fmt::format("field {} for the type {}", kValueField[type], name_of(attribute.type)),
                    fmt::format("field {}", other));
  const bool one_message = attribute.type == Type::kTensor || attribute.type == Type::kGraph ||
                           attribute.type == Type::kSparseTensor || attribute.type == Type::kTypeProto;
  if (one_message && values == 0) throw UserError(label, "value", std::string(name_of(attribute.type)), "none");
}

}  // namespace

OnnxAttribute parse_onnx_attribute(OnnxParse& parse, std::string_view message) {
  OnnxAttribute attribute;
  for (MessageReader fields(parse, message, "AttributeProto", attribute.extras); fields.next();)
    if (!parse_scalar(fields, attribute)) parse_nested(fields, attribute);
  check_value(attribute, parse.where);
  return attribute;
}

OnnxNode parse_onnx_node(OnnxParse& parse, std::string_view message) {
  OnnxNode node;
  for (MessageReader fields(parse, message, "NodeProto", node.extras); fields.next();) {
    switch (fields.field()) {
      case field::node::kInput:
        fields.texts(node.inputs);
        break;
      case field::node::kOutput:
        fields.texts(node.outputs);
        break;
      case field::node::kName:
        fields.text(node.name);
        break;
      case field::node::kOpType:
        fields.text(node.op_type);
        break;
      case field::node::kAttribute:
        fields.messages(node.attributes, parse_onnx_attribute);
        break;
      case field::node::kDoc:
        fields.text(node.doc_string);
        break;
      case field::node::kDomain:
        fields.text(node.domain);
        break;
      case field::node::kOverload:
        fields.text(node.overload);
        break;
      case field::node::kMetadata:
        fields.messages(node.metadata_props, parse_onnx_entry);
        break;
      default:
        fields.unknown();
    }
  }
  return node;
}

}  // namespace espalier
