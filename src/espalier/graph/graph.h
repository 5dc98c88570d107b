// THE model: a flat, topologically ordered list of nodes over named values, and the parameters in checkpoint order.
// Families and importers build graphs; everything else (cost, coupling, surgery, interpreter) only reads the nodes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "espalier/core/tensor.h"

namespace espalier {

using ValueId = int32_t;
using NodeId = int32_t;
using IndexList = std::shared_ptr<const std::vector<int64_t>>;

// A weight of the model. The bytes stay where they are (mapped); cuts are recorded as kept indices of an axis and
// applied when the tensor is asked for, so surgery on a model larger than memory costs nothing until it is written.
class Parameter {
 public:
  Parameter() = default;
  Parameter(std::string name, Tensor source);
  // fetch gives the bytes when they are asked for, of this dtype and shape, from any thread.
  Parameter(std::string name, DType dtype, Shape shape, std::function<Tensor()> fetch);

  const std::string& name() const { return name_; }
  const Shape& shape() const { return shape_; }  // after the cuts
  DType dtype() const { return dtype_; }
  int64_t count() const { return element_count(shape_); }
  size_t byte_size() const { return static_cast<size_t>(count()) * size_of(dtype()); }

  Tensor load() const;                    // the cut tensor; no copy when nothing is cut
  Tensor source() const;                  // uncut
  void assign(Tensor value);              // new weights; forgets the cuts
  void cut(size_t axis, const std::vector<int64_t>& kept);  // indices into the current shape
  void rename(std::string name) { name_ = std::move(name); }
  bool is_cut() const { return !kept_.empty(); }
  const std::vector<int64_t>* kept(size_t axis) const;  // indices into the source's axis; null: all of them

 private:
  std::string name_;
  DType dtype_ = DType::kF32;
  Shape shape_;
  Tensor source_;
  std::function<Tensor()> fetch_;  // instead of source_; may be empty
  std::map<size_t, IndexList> kept_;
};

using Attribute = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>>;

struct Node {
  std::string op;    // name of a registered Operator
  std::string name;  // unique; for nodes with weights the checkpoint's module path
  std::vector<ValueId> inputs, outputs;
  std::map<std::string, std::string> params;  // role ("weight", "bias", …) → parameter name
  std::map<std::string, Attribute> attributes;
  int block = -1;  // residual block that the node belongs to; -1 before, block count after the last

  int64_t integer(const std::string& key) const;
  int64_t integer_or(const std::string& key, int64_t otherwise) const;
  double real(const std::string& key) const;
  double real_or(const std::string& key, double otherwise) const;
  bool flag_or(const std::string& key, bool otherwise) const;
  std::string text(const std::string& key) const;
  std::string text_or(const std::string& key, const std::string& otherwise) const;
  const std::vector<int64_t>& integers(const std::string& key) const;
  std::vector<int64_t> integers_or(const std::string& key, std::vector<int64_t> otherwise) const;
  bool has_param(const std::string& role) const { return params.count(role) != 0; }
};

struct Value {
  std::string name;
  Shape shape;  // last inferred: decoders are [batch, tokens, width]
};

class Graph {
 public:
  std::vector<Node> nodes;
  std::vector<Value> values;
  std::vector<ValueId> inputs, outputs;
  int block_count = 0;

  ValueId add_value(std::string name);
  NodeId add_node(Node node);

  // Parameters, in declared (checkpoint) order. A name used by two nodes is one shared (tied) parameter.
  void add_parameter(std::string name, Tensor source);
  void add_parameter(Parameter parameter);
  const std::vector<std::unique_ptr<Parameter>>& parameters() const { return parameters_; }
  bool has_parameter(const std::string& name) const { return by_name_.count(name) != 0; }
  Parameter& parameter(const std::string& name);
  const Parameter& parameter(const std::string& name) const;
  Parameter& parameter_of(const Node& node, const std::string& role) { return parameter(node.params.at(role)); }
  const Parameter& parameter_of(const Node& node, const std::string& role) const { return parameter(node.params.at(role)); }
  void rename_parameter(const std::string& from, const std::string& to);  // nodes follow; order stays
  void drop_unused_parameters();
  void drop_unread_nodes();  // those whose outputs neither a node nor the graph reads

  const Node& node(const std::string& name) const;
  std::vector<NodeId> nodes_of_block(int block) const;
  std::optional<NodeId> producer(ValueId value) const;
  std::vector<NodeId> consumers(ValueId value) const;
  int64_t parameter_count() const;
  uint64_t parameter_bytes() const;

  Graph clone() const;  // parameters share their bytes
  // Every input produced before use, one producer a value, every parameter present, operators known.
  void check() const;

  Graph() = default;
  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;

 private:
  std::vector<std::unique_ptr<Parameter>> parameters_;
  std::unordered_map<std::string, Parameter*> by_name_;
};

}  // namespace espalier
