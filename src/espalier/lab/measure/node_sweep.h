// Takes a graph one node at a time, on all batches at once: what is done with a layer (its inputs looked at, its weights
// changed) is done before the layer runs, so that later layers see the change. The values between two nodes are in memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "espalier/lab/interpreter/interpreter.h"

namespace espalier {

using GraphInputs = std::vector<at::Tensor>;  // one a graph input

class NodeSweep {
 public:
  // The graph must outlive the sweep and keep its nodes; its parameters may be assigned.
  NodeSweep(const Graph& graph, const std::vector<GraphInputs>& batches);

  bool done() const { return next_ >= static_cast<NodeId>(graph_.nodes.size()); }
  NodeId next() const { return next_; }
  const Node& node() const { return graph_.nodes[static_cast<size_t>(next_)]; }
  size_t batch_count() const { return values_.size(); }
  // Input i of the next node.
  const at::Tensor& input(size_t batch, size_t i = 0) const { return value(batch, node().inputs.at(i)); }
  // Of a node that has run and whose last reader has not.
  const at::Tensor& value(size_t batch, ValueId id) const { return values_[batch].at(id); }
  // Runs the next node on every batch, with its parameters as they are now. Without gradients.
  void advance();

 private:
  const Graph& graph_;
  Weights weights_;
  Interpreter interpreter_;
  NodeId next_ = 0;
  std::vector<Environment> values_;
};

}  // namespace espalier
