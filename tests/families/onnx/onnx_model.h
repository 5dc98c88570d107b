// ONNX models made in a few lines, for the importer's tests.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "espalier/families/onnx/import.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier::test {

// A number is a fixed dim, a name an open one.
struct ModelDim {
  ModelDim(int64_t size) : value(size) {}      // NOLINT: {"n", 3, 8, 8}
  ModelDim(const char* name) : param(name) {}  // NOLINT
  std::optional<int64_t> value;
  std::string param;
};

class ModelBuilder {
 public:
  explicit ModelBuilder(int64_t opset = 17) {
    model.ir_version = 8;
    model.opset_imports.push_back({"", opset, {}});
    model.graph.name = "g";
    model.path = "m.onnx";
  }

  static OnnxValueInfo info(const std::string& name, const std::vector<ModelDim>& dims,
                            OnnxDataType type = OnnxDataType::kFloat) {
    OnnxValueInfo info;
    info.name = name;
    info.type.kind = OnnxType::Kind::kTensor;
    info.type.elem_type = type;
    info.type.has_shape = true;
    for (const ModelDim& dim : dims) info.type.shape.push_back({dim.value, dim.param, "", {}});
    return info;
  }
  ModelBuilder& input(const std::string& name, const std::vector<ModelDim>& dims,
                      OnnxDataType type = OnnxDataType::kFloat) {
    model.graph.inputs.push_back(info(name, dims, type));
    return *this;
  }
  ModelBuilder& output(const std::string& name) {
    OnnxValueInfo value = info(name, {});
    value.type.has_shape = false;
    model.graph.outputs.push_back(value);
    return *this;
  }
  // Values that differ from each other and depend on nothing but the place and the seed.
  ModelBuilder& weight(const std::string& name, const Shape& shape, double seed = 1) {
    std::vector<float> values(static_cast<size_t>(element_count(shape)));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(std::sin(static_cast<double>(i) * 0.7 + seed));
    return floats(name, shape, values);
  }
  ModelBuilder& floats(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    model.graph.initializers.push_back(onnx_tensor(name, Tensor::from_floats(shape, values)));
    return *this;
  }
  ModelBuilder& number(const std::string& name, float value) { return floats(name, {}, {value}); }
  ModelBuilder& ints(const std::string& name, const std::vector<int64_t>& values, bool scalar = false) {
    Tensor tensor(DType::kI64, scalar ? Shape{} : Shape{std::ssize(values)});
    std::copy(values.begin(), values.end(), tensor.mutable_as<int64_t>().begin());
    model.graph.initializers.push_back(onnx_tensor(name, tensor));
    return *this;
  }
  static OnnxNode made(const std::string& op, std::vector<std::string> inputs, std::vector<std::string> outputs,
                       std::vector<OnnxAttribute> attributes = {}, const std::string& domain = "") {
    OnnxNode node;
    node.op_type = op;
    node.domain = domain;
    node.inputs = std::move(inputs);
    node.outputs = std::move(outputs);
    node.attributes = std::move(attributes);
    return node;
  }
  ModelBuilder& node(const std::string& op, std::vector<std::string> inputs, std::vector<std::string> outputs,
                     std::vector<OnnxAttribute> attributes = {}, const std::string& domain = "") {
    model.graph.nodes.push_back(made(op, std::move(inputs), std::move(outputs), std::move(attributes), domain));
    return *this;
  }
  OnnxImport import(const OnnxImportOptions& options = {}) const { return import_onnx(model, options); }

  OnnxModel model;
};

// The operators of the nodes, in order, Constants left out.
inline std::vector<std::string> operators(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes)
    if (node.op != "Constant") names.push_back(node.op);
  return names;
}

inline const Node& only(const Graph& graph, const std::string& op) {
  const Node* found = nullptr;
  for (const Node& node : graph.nodes)
    if (node.op == op) {
      if (found) throw std::runtime_error("several nodes " + op);
      found = &node;
    }
  if (!found) throw std::runtime_error("no node " + op);
  return *found;
}

inline const Shape& shape_of(const Graph& graph, const std::string& value) {
  for (const Value& candidate : graph.values)
    if (candidate.name == value) return candidate.shape;
  throw std::runtime_error("no value " + value);
}

}  // namespace espalier::test
