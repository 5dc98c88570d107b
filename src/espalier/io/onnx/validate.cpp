#include "espalier/io/onnx/validate.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_set>

#include "espalier/core/error.h"
#include "espalier/io/onnx/order.h"
#include "espalier/io/onnx/scope.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier {
namespace {

// What the nodes of the model or of one function may refer to.
struct Surroundings {
  std::string where;
  const std::vector<OnnxOpset>& opsets;
  const OnnxFunction* function = nullptr;
};

void validate_graph(const OnnxGraph& graph, const Surroundings& around, const OnnxScope* outer);

void check_shape(const OnnxValueInfo& value, const std::string& label) {
  Shape fixed;
  for (const OnnxDim& dim : value.type.shape) {
    if (dim.value && *dim.value < -1)
      throw UserError(fmt::format("{}: value '{}'", label, printable(value.name)), "shape", "sizes of at least 0",
                      std::to_string(*dim.value));
    if (dim.fixed()) fixed.push_back(*dim.value);
  }
  onnx_element_count(fixed, fmt::format("{}: value '{}'", label, printable(value.name)), "shape");
}

void check_opsets(const std::vector<OnnxOpset>& opsets, const std::string& where) {
  if (opsets.empty()) throw UserError(where, "opset_import", "at least one", "none");
  std::set<std::string> domains;
  for (const OnnxOpset& opset : opsets) {
    const std::string domain = is_default_domain(opset.domain) ? "ai.onnx" : opset.domain;
    const std::string field = fmt::format("opset_import '{}'", printable(domain));
    if (!domains.insert(domain).second) throw UserError(where, field, "it once", "it twice");
    if (domain == "ai.onnx" && (opset.version < kMinOnnxOpset || opset.version > kMaxOnnxOpset))
      throw UserError(where, field, fmt::format("a version from {} to {}", kMinOnnxOpset, kMaxOnnxOpset),
                      std::to_string(opset.version));
    if (opset.version < 1) throw UserError(where, field, "a version of at least 1", std::to_string(opset.version));
  }
}

void check_reference(const OnnxAttribute& attribute, const Surroundings& around, const std::string& label) {
  const std::string field = fmt::format("attribute '{}'", printable(attribute.name));
  if (!around.function)
    throw UserError(label, field, "a value",
                    fmt::format("ref_attr_name '{}' outside of a function", printable(attribute.ref_attr_name)));
  const OnnxFunction& function = *around.function;
  const bool declared = std::find(function.attributes.begin(), function.attributes.end(), attribute.ref_attr_name) !=
                            function.attributes.end() ||
                        std::any_of(function.attribute_defaults.begin(), function.attribute_defaults.end(),
                                    [&](const OnnxAttribute& known) { return known.name == attribute.ref_attr_name; });
  if (!declared)
    throw UserError(label, field, "the name of one of the function's attributes",
                    fmt::format("ref_attr_name '{}'", printable(attribute.ref_attr_name)));
}

void check_attribute(const OnnxAttribute& attribute, const Surroundings& around, const OnnxScope& scope,
                     const std::string& label) {
  if (!attribute.ref_attr_name.empty()) check_reference(attribute, around, label);
  for (const OnnxTensor& tensor : attribute.tensors) check_onnx_tensor(tensor, label);
  for (const OnnxSparseTensor& sparse : attribute.sparse_tensors) check_onnx_sparse(sparse, label);
  for (const OnnxGraph& graph : attribute.graphs) validate_graph(graph, around, &scope);
}

void validate_node(const OnnxNode& node, size_t index, const Surroundings& around, OnnxScope& scope) {
  const std::string label = scope.label_of(index);
  scope.set_node(index);
  if (node.op_type.empty()) throw UserError(label, "op_type", "the name of an operator", "none");
  if (!opset_version(around.opsets, node.domain))
    throw UserError(label, "domain", "one with an opset_import", fmt::format("'{}'", printable(node.domain)));
  for (const std::string& name : node.inputs)
    if (!name.empty()) scope.require(name);
  std::unordered_set<std::string_view> names;
  for (const OnnxAttribute& attribute : node.attributes) {
    if (attribute.name.empty()) throw UserError(label, "attribute", "a name", "none");
    if (!names.insert(attribute.name).second)
      throw UserError(label, fmt::format("attribute '{}'", printable(attribute.name)), "it once", "it twice");
    check_attribute(attribute, around, scope, label);
  }
  for (const std::string& name : node.outputs) scope.define_output_of_node(name);
}

void require_output(const std::string& name, const OnnxScope& scope) {
  if (!scope.defines(name))
    throw UserError(scope.label(), fmt::format("output '{}'", printable(name)), "a name that the graph defines",
                    "one that nothing in it produces");
}

void check_tensors(const OnnxGraph& graph, const std::string& label) {
  for (const OnnxTensor& tensor : graph.initializers) check_onnx_tensor(tensor, label);
  for (const OnnxSparseTensor& sparse : graph.sparse_initializers) check_onnx_sparse(sparse, label);
  for (const auto* values : {&graph.inputs, &graph.outputs, &graph.value_infos})
    for (const OnnxValueInfo& value : *values) check_shape(value, label);
}

void validate_graph(const OnnxGraph& graph, const Surroundings& around, const OnnxScope* outer) {
  OnnxScope scope(fmt::format("{}: graph '{}'", around.where, printable(graph.name)), graph.nodes, outer);
  check_tensors(graph, scope.label());
  for (const OnnxValueInfo& input : graph.inputs) scope.define_input(input.name);
  for (const OnnxTensor& tensor : graph.initializers) scope.define_initializer(tensor.name);
  for (const OnnxSparseTensor& sparse : graph.sparse_initializers) scope.define_initializer(sparse.values.name);
  for (size_t i = 0; i < graph.nodes.size(); ++i) validate_node(graph.nodes[i], i, around, scope);
  for (const OnnxValueInfo& output : graph.outputs) require_output(output.name, scope);
}

void validate_function(const OnnxFunction& function, const std::string& where) {
  const Surroundings around{fmt::format("{}: function '{}'", where, printable(function.name)), function.opset_imports,
                            &function};
  if (function.name.empty()) throw UserError(around.where, "name", "a name", "none");
  check_opsets(function.opset_imports, around.where);
  OnnxScope scope(around.where, function.nodes, nullptr);
  for (const std::string& name : function.inputs) scope.define_input(name);
  for (const OnnxValueInfo& value : function.value_infos) check_shape(value, around.where);
  for (const OnnxAttribute& attribute : function.attribute_defaults)
    check_attribute(attribute, around, scope, around.where);
  for (size_t i = 0; i < function.nodes.size(); ++i) validate_node(function.nodes[i], i, around, scope);
  for (const std::string& name : function.outputs) require_output(name, scope);
}

using FunctionKey = std::tuple<std::string, std::string, std::string>;

FunctionKey key_of(const std::string& domain, const std::string& name, const std::string& overload) {
  return {is_default_domain(domain) ? "" : domain, name, overload};
}

void add_calls(const std::vector<OnnxNode>& nodes, const std::map<FunctionKey, size_t>& functions,
               std::vector<size_t>& calls) {
  for (const OnnxNode& node : nodes) {
    const auto callee = functions.find(key_of(node.domain, node.op_type, node.overload));
    if (callee != functions.end()) calls.push_back(callee->second);
    for (const OnnxAttribute& attribute : node.attributes)
      for (const OnnxGraph& graph : attribute.graphs) add_calls(graph.nodes, functions, calls);
  }
}

void validate_functions(const OnnxModel& model, const std::string& where) {
  std::map<FunctionKey, size_t> functions;
  for (size_t i = 0; i < model.functions.size(); ++i) {
    const OnnxFunction& function = model.functions[i];
    validate_function(function, where);
    if (!functions.emplace(key_of(function.domain, function.name, function.overload), i).second)
      throw UserError(where, fmt::format("function '{}'", printable(function.name)), "it once", "it twice");
  }
  std::vector<std::vector<size_t>> calls(model.functions.size());
  for (size_t i = 0; i < model.functions.size(); ++i) add_calls(model.functions[i].nodes, functions, calls[i]);
  if (const auto cycle = find_cycle(calls); !cycle.empty())
    throw UserError(where, fmt::format("function '{}'", printable(model.functions[cycle[0]].name)),
                    "functions that do not call themselves", fmt::format("a circle of {}", cycle.size()));
}

}  // namespace

void validate_onnx(const OnnxModel& model, const std::string& where) {
  if (model.ir_version < kMinOnnxIr || model.ir_version > kMaxOnnxIr)
    throw UserError(where, "ir_version", fmt::format("{} to {}", kMinOnnxIr, kMaxOnnxIr),
                    std::to_string(model.ir_version));
  check_opsets(model.opset_imports, where);
  validate_functions(model, where);
  validate_graph(model.graph, {where, model.opset_imports}, nullptr);
}

}  // namespace espalier
