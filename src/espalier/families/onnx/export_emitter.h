// What turns the nodes of a graph into ONNX nodes: names, element types, constants, and pieces whose form depends on the
// operator set. The emit_*.cpp files register one function an operator.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "espalier/families/onnx/export_shapes.h"
#include "espalier/families/onnx/import.h"
#include "espalier/graph/graph.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/model.h"

namespace espalier {

struct OnnxCall {
  std::string op;
  std::vector<std::string> inputs;  // "": left out
  std::vector<OnnxAttribute> attributes = {};
};

bool is_floating(OnnxDataType type);

// Names that are all different.
class OnnxNames {
 public:
  std::string take(const std::string& wanted);  // as wanted, or with "_1", "_2", …
  bool is_taken(const std::string& name) const { return taken_.count(name) != 0; }

 private:
  std::unordered_set<std::string> taken_;
  std::unordered_map<std::string, int> next_;
};

class OnnxEmitter {
 public:
  OnnxEmitter(const Graph& graph, const OpenShapes& shapes, const OnnxSource* source, int64_t opset);

  void emit_all();

  // The node at hand.
  const Graph& graph() const { return graph_; }
  const Node& node() const { return *node_; }
  int64_t opset() const { return opset_; }
  const OnnxSource* source() const { return source_; }
  const OpenShapes& shapes() const { return shapes_; }
  const std::string& in(size_t i = 0) const { return name_of(node().inputs.at(i)); }
  std::vector<std::string> all_inputs() const;
  OnnxDataType type(size_t i = 0) const { return type_of(node().inputs.at(i)); }
  const Shape& shape(size_t i = 0) const { return shapes_.shape(node().inputs.at(i)); }
  const Shape& output_shape() const { return shapes_.shape(node().outputs.at(0)); }
  bool is_fixed(size_t i, size_t axis) const { return shapes_.is_fixed(node().inputs.at(i), axis); }

  // Nodes. emit() makes a value of its own; finish() makes the outputs of the node at hand, and takes its name.
  std::string emit(OnnxCall call);
  std::string emit(const std::string& op, std::vector<std::string> inputs, std::vector<OnnxAttribute> attributes = {}) {
    return emit(OnnxCall{op, std::move(inputs), std::move(attributes)});
  }
  void finish(OnnxCall call, OnnxDataType type);
  void finish(OnnxCall call) { finish(std::move(call), type()); }
  void finish(const std::string& op, std::vector<std::string> inputs, std::vector<OnnxAttribute> attributes = {}) {
    finish(OnnxCall{op, std::move(inputs), std::move(attributes)});
  }
  void finish_node(OnnxNode node);  // as it is; output types from the source, else the first input's
  void finish_as(const std::string& name, OnnxDataType type);  // the node's output is a value that there is already

  // Parameters of the node at hand. With another element type than its own a Cast is put before.
  std::string param(const std::string& role, OnnxDataType type);
  std::string param_or_filled(const std::string& role, int64_t count, double value, OnnxDataType type);
  std::string transposed_param(const std::string& role, OnnxDataType type);  // of two dims
  const Shape& param_shape(const std::string& role) const { return graph_.parameter_of(node(), role).shape(); }
  OnnxDataType param_type(const std::string& role) const { return stored_type(graph_.parameter_of(node(), role)); }
  // The element type that a value read from the parameter has: its own in a file, fp32 in a family.
  OnnxDataType value_type_of(const std::string& role) const;

  // Constants; equal ones are one initialiser.
  std::string ints(const std::vector<int64_t>& values);  // [n]
  std::string integer(int64_t value);                    // []
  std::string scalar(double value, OnnxDataType type);   // []
  std::string filled(const Shape& shape, double value, OnnxDataType type);
  std::string constant(const std::string& wanted_name, const Tensor& tensor);

  // Pieces.
  std::string cast(const std::string& value, OnnxDataType from, OnnxDataType to);
  // Inputs from `first` on, of one type: a floating one if there is any, rather a computed value's than a constant's.
  std::vector<std::string> unified(size_t first, OnnxDataType& type);
  OnnxCall reduce_call(const std::string& op, const std::string& x, const std::vector<int64_t>& axes, bool keep);
  OnnxCall squeeze_call(const std::string& op, const std::string& x, const std::vector<int64_t>& axes);  // and Unsqueeze
  std::string unsqueeze(const std::string& x, const std::vector<int64_t>& axes) {
    return emit(squeeze_call("Unsqueeze", x, axes));
  }
  std::string reshape(const std::string& x, const std::vector<int64_t>& shape) {
    return emit("Reshape", {x, ints(shape)});
  }
  std::string transpose(const std::string& x, const std::vector<int64_t>& perm) {
    return emit("Transpose", {x}, {onnx_ints("perm", perm)});
  }
  std::string slice(const std::string& x, int64_t axis, int64_t start, int64_t end);

  // Made once for all nodes that ask with the same key; values inside are named after `scope`.
  std::string shared(const std::string& key, const std::string& scope, const std::function<std::string()>& make);

  const std::string& name_of(ValueId value) const { return names_[static_cast<size_t>(value)]; }
  const std::string& graph_name(ValueId value) const { return graph_.values[static_cast<size_t>(value)].name; }
  OnnxDataType type_of(ValueId value) const { return types_[static_cast<size_t>(value)]; }
  std::string use_parameter(const std::string& name);
  void use_source_tensor(const OnnxTensor& tensor);
  OnnxDataType source_type(const std::string& value) const;  // kUndefined: the source does not say

  // What came out.
  std::vector<OnnxNode>& nodes() { return nodes_; }
  std::vector<OnnxTensor> take_initializers();
  const std::string& output_name(size_t i) const { return output_names_[i]; }

 private:
  void name_values();
  void find_transposed();
  void type_inputs();
  OnnxDataType stored_type(const Parameter& parameter) const;
  std::string free_name(const std::string& op);
  void add_identities();
  OnnxDataType common_type(size_t first) const;

  const Graph& graph_;
  const OpenShapes& shapes_;
  const OnnxSource* source_;
  const int64_t opset_;
  const Node* node_ = nullptr;
  std::string scope_;

  OnnxNames value_names_, node_names_;
  std::vector<std::string> names_;         // by ValueId
  std::vector<OnnxDataType> types_;        // by ValueId
  std::unordered_set<ValueId> constant_values_;
  std::vector<std::string> output_names_;  // by graph output
  std::unordered_map<std::string, std::string> parameter_names_;
  std::set<std::string> used_parameters_, transposed_;
  std::unordered_map<std::string, OnnxDataType> source_types_;
  std::unordered_map<std::string, std::string> shared_;
  std::unordered_map<std::string, std::string> constants_by_bytes_;
  std::vector<OnnxTensor> constants_, carried_;
  std::vector<OnnxNode> nodes_;
};

using OnnxEmit = void (*)(OnnxEmitter&);

struct RegisterOnnxEmit {
  RegisterOnnxEmit(const char* op, OnnxEmit emit);
};

const OnnxEmit* find_onnx_emit(const std::string& op);  // nullptr: none

}  // namespace espalier
