// Elementwise operators of several values, which broadcast.
#include "espalier/families/onnx/import_ops.h"

namespace espalier::ops_elementwise {
namespace {

void binary(NodeImport& n) {
  if (n.op_type() == "Div" && n.is_integer(0) && n.is_integer(1))
    NodeImport::not_understood("it divides integers that are computed");
  n.give(n.op_type(), {n.value(0), n.value(1)});
}

// Max, Min and Sum of any number of inputs, two at a time.
void variadic(NodeImport& n) {
  const std::string op = n.op_type() == "Sum" || n.op_type() == "Mean" ? "Add" : n.op_type();
  ValueId result = n.value(0);
  const auto count = n.input_count();
  const bool mean = n.op_type() == "Mean" && count > 1;
  if (count == 1) return n.alias();
  for (size_t i = 1; i + (mean ? 0 : 1) < count; ++i) result = n.add("part", op, {result, n.value(i)});
  if (mean) return n.give("Div", {result, n.constant_number("count", static_cast<double>(count))});
  n.give(op, {result, n.value(count - 1)});
}

const std::map<std::string, const char*>& comparisons() {
  static const std::map<std::string, const char*> table = {{"Equal", "equal"},
                                                           {"Less", "less"},
                                                           {"LessOrEqual", "less_or_equal"},
                                                           {"Greater", "greater"},
                                                           {"GreaterOrEqual", "greater_or_equal"},
                                                           {"And", "and"},
                                                           {"Or", "or"},
                                                           {"Xor", "xor"}};
  return table;
}

void compare(NodeImport& n) {
  n.set_type(OnnxDataType::kBool);
  n.give("Compare", {n.value(0), n.value(1)}, {{"kind", std::string(comparisons().at(n.op_type()))}});
}

void where(NodeImport& n) {
  n.set_type(n.type(1));
  n.give("Where", {n.value(0), n.value(1), n.value(2)});
}

const RegisterOnnxImport registered[] = {
    {"Add", binary},      {"Sub", binary},
    {"Mul", binary},      {"Div", binary},
    {"Pow", binary},      {"Max", variadic},
    {"Min", variadic},    {"Sum", variadic},
    {"Mean", variadic},   {"Equal", compare},
    {"Less", compare},    {"LessOrEqual", compare},
    {"Greater", compare}, {"GreaterOrEqual", compare},
    {"And", compare},     {"Or", compare},
    {"Xor", compare},     {"Where", where},
};

}  // namespace
}  // namespace espalier::ops_elementwise
