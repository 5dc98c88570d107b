// Adds nodes to an imported graph: new names, and shapes at the two batch sizes of the import.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

struct GraphGrowth {
  Graph& graph;
  std::vector<Shape>& other_shapes;  // of each value, at the other batch size
  std::function<ValueId(const std::string& hint)> new_value;
  std::function<std::string(const std::string& hint)> new_node_name;

  const Shape& shape(ValueId value, bool other) const {
    return other ? other_shapes[static_cast<size_t>(value)] : graph.values[static_cast<size_t>(value)].shape;
  }
  bool same_sizes(ValueId value, size_t axis) const { return shape(value, false)[axis] == shape(value, true)[axis]; }
};

// A run of nodes that is to stand in a graph, made one after the other. Nothing is changed before it is finished.
class NodeRun {
 public:
  explicit NodeRun(GraphGrowth& growth) : growth_(growth) {}

  // Gives the node a name and outputs; false where its shapes do not fit.
  bool add(Node node, const std::string& hint, size_t outputs = 1);
  ValueId last(size_t output = 0) const { return nodes_.back().outputs[output]; }
  // The last node makes this value instead of a new one; false where it has another shape.
  bool finish(ValueId value);
  std::vector<Node> take() { return std::move(nodes_); }

 private:
  GraphGrowth& growth_;
  std::vector<Node> nodes_;
};

}  // namespace espalier
