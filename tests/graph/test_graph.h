// Graphs by hand: values are named, parameters get the weights of tests/families/tiny_models.h.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "espalier/graph/graph.h"
#include "espalier/graph/operator.h"
#include "tests/families/tiny_models.h"

namespace espalier::test {

class TestGraph {
 public:
  Graph graph;

  void input(const std::string& name, Shape shape) {
    graph.inputs.push_back(value(name));
    graph.values.back().shape = std::move(shape);
  }
  void param(const std::string& name, Shape shape) {
    const auto values = tiny_values(name, shape);
    graph.add_parameter(name, Tensor::from_floats(std::move(shape), values));
  }
  // Named like its first output.
  Node& node(const std::string& op, const std::vector<std::string>& in, const std::vector<std::string>& out,
             std::map<std::string, std::string> params = {}, std::map<std::string, Attribute> attributes = {}) {
    Node made;
    made.op = op;
    made.name = out.at(0);
    for (const auto& name : in) made.inputs.push_back(values_.at(name));
    for (const auto& name : out) made.outputs.push_back(value(name));
    made.params = std::move(params);
    made.attributes = std::move(attributes);
    graph.add_node(std::move(made));
    return graph.nodes.back();
  }
  void output(const std::string& name) { graph.outputs.push_back(values_.at(name)); }

  const Shape& shape(const std::string& name) const {
    return graph.values[static_cast<size_t>(values_.at(name))].shape;
  }
  void infer() { infer_shapes(graph, input_shapes(graph)); }
  Cost cost() const { return total_cost(graph); }

 private:
  ValueId value(const std::string& name) { return values_[name] = graph.add_value(name); }
  std::map<std::string, ValueId> values_;
};

}  // namespace espalier::test
