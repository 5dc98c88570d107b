#include "espalier/io/onnx/attributes.h"

#include <array>

#include "espalier/core/error.h"

namespace espalier {
namespace {

using Type = OnnxAttribute::Type;

// The attribute if it is there and holds a value of that type itself.
const OnnxAttribute* typed(const OnnxNode& node, std::string_view name, Type type, const std::string& where) {
  const OnnxAttribute* attribute = find_attribute(node, name);
  if (!attribute) return nullptr;
  const std::string label = fmt::format("{}: node '{}' ({})", where, printable(node.name), printable(node.op_type));
  if (!attribute->ref_attr_name.empty())
    throw UserError(label, fmt::format("attribute '{}'", name), "a value",
                    fmt::format("the function's attribute '{}'", printable(attribute->ref_attr_name)));
  if (attribute->type != type)
    throw UserError(label, fmt::format("attribute '{}'", name), std::string(name_of(type)),
                    std::string(name_of(attribute->type)));
  return attribute;
}

template <typename T>
T value_or(const OnnxNode& node, std::string_view name, Type type, T OnnxAttribute::*member, T otherwise,
           const std::string& where) {
  const OnnxAttribute* attribute = typed(node, name, type, where);
  return attribute ? attribute->*member : std::move(otherwise);
}

template <typename T>
OnnxAttribute with(std::string name, Type type, T OnnxAttribute::*member, T value) {
  OnnxAttribute attribute;
  attribute.name = std::move(name);
  attribute.type = type;
  attribute.*member = std::move(value);
  return attribute;
}

}  // namespace

const OnnxAttribute* find_attribute(const OnnxNode& node, std::string_view name) {
  for (const OnnxAttribute& attribute : node.attributes)
    if (attribute.name == name) return &attribute;
  return nullptr;
}

int64_t attribute_int(const OnnxNode& node, std::string_view name, int64_t otherwise, const std::string& where) {
  return value_or(node, name, Type::kInt, &OnnxAttribute::i, otherwise, where);
}
float attribute_float(const OnnxNode& node, std::string_view name, float otherwise, const std::string& where) {
  return value_or(node, name, Type::kFloat, &OnnxAttribute::f, otherwise, where);
}
std::string attribute_string(const OnnxNode& node, std::string_view name, std::string otherwise,
                             const std::string& where) {
  return value_or(node, name, Type::kString, &OnnxAttribute::s, std::move(otherwise), where);
}
std::vector<int64_t> attribute_ints(const OnnxNode& node, std::string_view name, std::vector<int64_t> otherwise,
                                    const std::string& where) {
  return value_or(node, name, Type::kInts, &OnnxAttribute::ints, std::move(otherwise), where);
}
std::vector<float> attribute_floats(const OnnxNode& node, std::string_view name, std::vector<float> otherwise,
                                    const std::string& where) {
  return value_or(node, name, Type::kFloats, &OnnxAttribute::floats, std::move(otherwise), where);
}
const OnnxTensor* tensor_attribute(const OnnxNode& node, std::string_view name, const std::string& where) {
  const OnnxAttribute* attribute = typed(node, name, Type::kTensor, where);
  return attribute && !attribute->tensors.empty() ? &attribute->tensors.front() : nullptr;
}

OnnxAttribute onnx_int(std::string name, int64_t value) {
  return with(std::move(name), Type::kInt, &OnnxAttribute::i, value);
}
OnnxAttribute onnx_float(std::string name, float value) {
  return with(std::move(name), Type::kFloat, &OnnxAttribute::f, value);
}
OnnxAttribute onnx_string(std::string name, std::string value) {
  return with(std::move(name), Type::kString, &OnnxAttribute::s, std::move(value));
}
OnnxAttribute onnx_ints(std::string name, std::vector<int64_t> values) {
  return with(std::move(name), Type::kInts, &OnnxAttribute::ints, std::move(values));
}
OnnxAttribute onnx_floats(std::string name, std::vector<float> values) {
  return with(std::move(name), Type::kFloats, &OnnxAttribute::floats, std::move(values));
}
OnnxAttribute onnx_tensor_attribute(std::string name, OnnxTensor value) {
  return with(std::move(name), Type::kTensor, &OnnxAttribute::tensors, std::vector{std::move(value)});
}
OnnxAttribute onnx_graph_attribute(std::string name, OnnxGraph value) {
  return with(std::move(name), Type::kGraph, &OnnxAttribute::graphs, std::vector{std::move(value)});
}

std::string_view name_of(OnnxAttribute::Type type) {
  constexpr std::array<std::string_view, 15> kNames{
      "UNDEFINED", "FLOAT",   "INT",    "STRING",        "TENSOR",         "GRAPH",      "FLOATS",     "INTS",
      "STRINGS",   "TENSORS", "GRAPHS", "SPARSE_TENSOR", "SPARSE_TENSORS", "TYPE_PROTO", "TYPE_PROTOS"};
  const auto number = static_cast<size_t>(type);
  return number < kNames.size() ? kNames[number] : "an unknown type";
}

}  // namespace espalier
