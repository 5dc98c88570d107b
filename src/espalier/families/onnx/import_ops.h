// What the import function of an operator sees of its node: inputs, attributes, and how to add nodes to the graph.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/families/onnx/import_context.h"

namespace espalier {

class NodeImport {
 public:
  NodeImport(Importer& importer, const OnnxNode& node, std::vector<SlotPtr> inputs, Scope& scope)
      : importer_(importer), node_(node), inputs_(std::move(inputs)), scope_(scope) {}

  const OnnxNode& node() const { return node_; }
  const std::string& op_type() const { return node_.op_type; }
  int64_t opset() const { return scope_.opset; }
  size_t output_count() const { return node_.outputs.size(); }
  bool is_read(size_t output) const;  // by a node or as an output of the graph

  size_t input_count() const { return inputs_.size(); }
  bool has(size_t i) const { return i < inputs_.size() && inputs_[i]; }
  const Shape& shape(size_t i) { return importer_.shape(slot(i)); }
  const Shape& other_shape(size_t i) { return importer_.other_shape(slot(i)); }  // at the other batch size
  size_t rank(size_t i) { return shape(i).size(); }
  bool is_integer(size_t i) { return slot(i).type != OnnxDataType::kUndefined && !is_real(slot(i).type); }
  OnnxDataType type(size_t i) { return slot(i).type; }
  ValueId value(size_t i) { return importer_.value_of(slot(i)); }
  StoredPtr stored(size_t i) { return has(i) ? slot(i).stored : nullptr; }  // null: no tensor of the file
  // A tensor of the file as a parameter. NotUnderstood: it is computed.
  std::string parameter(size_t i, const char* role);
  std::string parameter(const StoredPtr& stored) { return importer_.parameter_of(stored); }
  // Contents that are the same at both batch sizes; null: not known, or left out.
  const Known* known(size_t i);
  const Known* known_at(size_t i, bool other);  // at one of them
  std::optional<double> scalar(size_t i);
  // Integers that newer operator sets take as input i and older ones as an attribute. Nothing: neither is there.
  // NotUnderstood: they are computed from data or depend on the batch.
  std::optional<std::vector<int64_t>> integers(size_t i, const char* attribute);
  size_t axis(int64_t given, size_t rank) const;

  bool has_attribute(const char* name) const;
  int64_t integer(const char* name, int64_t otherwise) const;
  double real(const char* name, double otherwise) const;
  std::string text(const char* name, const std::string& otherwise) const;
  std::vector<int64_t> integers(const char* name) const;

  // A node between the inputs and the outputs; `suffix` names it.
  ValueId add(const char* suffix, Node node);
  ValueId add(const char* suffix, const std::string& op, std::vector<ValueId> inputs,
              std::map<std::string, Attribute> attributes = {});
  ValueId constant_number(const char* suffix, double value);  // a scalar
  // The node that makes the outputs; those beyond `outputs` must not be read.
  void give(Node node, size_t outputs = 1);
  void give(const std::string& op, std::vector<ValueId> inputs, std::map<std::string, Attribute> attributes = {});
  void give_value(ValueId value);                                               // output 0 is this value
  void alias(size_t input = 0);                                                 // output 0 is the input itself
  ValueId result() const { return importer_.graph().nodes.back().outputs[0]; }  // after give()
  void set_type(OnnxDataType type) { type_ = type; }                            // of the outputs; else that of input 0

  const Shape& shape_of(ValueId value) const { return importer_.graph().values[static_cast<size_t>(value)].shape; }
  const Shape& other_shape_of(ValueId value) const { return importer_.other_shape(value); }
  Importer& importer() { return importer_; }

  [[noreturn]] void refuse(const std::string& what, const std::string& expected, const std::string& found) const;
  [[noreturn]] static void not_understood(std::string why) { throw NotUnderstood{std::move(why)}; }

 private:
  Slot& slot(size_t i);
  std::string node_name();

  Importer& importer_;
  const OnnxNode& node_;
  std::vector<SlotPtr> inputs_;
  Scope& scope_;
  OnnxDataType type_ = OnnxDataType::kUndefined;
};

using OnnxImportFunction = void (*)(NodeImport&);
// nullptr: not known. `domain` "" is ONNX's own.
OnnxImportFunction find_onnx_import(const std::string& domain, const std::string& op_type);

struct RegisterOnnxImport {
  RegisterOnnxImport(const char* op_type, OnnxImportFunction function, const char* domain = "");
};

// Shared by import functions.
// `y = x` with a batch-free form of the shape: 0 where the dim is copied, −1 where the batch is.
void give_reshape(NodeImport& n, ValueId x, const Known& shape, const Known& other);
std::map<std::string, Attribute> window_attributes(NodeImport& n, const std::vector<int64_t>& kernel, bool transposed);

}  // namespace espalier
