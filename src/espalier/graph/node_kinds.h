// What is meant all over by a layer, a norm, and a statistic.
#pragma once

#include <string>
#include <unordered_set>

#include "espalier/graph/graph.h"

namespace espalier {

// Does it multiply by a matrix, its parameter `weight`? The weights that single-weight methods may remove.
inline bool is_matrix_layer(const Node& node) {
  return node.op == "Linear" || node.op == "Conv" || node.op == "ConvTranspose";
}

inline bool is_norm(const Node& node) { return node.op.ends_with("Norm"); }

// Does the parameter follow the data instead of being trained? The running mean and variance of batch norms do: they are
// stored and cut like weights, and Graph::parameter_count(), as published counts do, leaves them out.
inline bool is_statistic(const Node& node, const std::string& role) {
  return node.op == "BatchNorm" && (role == "mean" || role == "var");
}

inline std::unordered_set<std::string> statistics_of(const Graph& graph) {
  std::unordered_set<std::string> names;
  for (const auto& node : graph.nodes)
    for (const auto& [role, name] : node.params)
      if (is_statistic(node, role)) names.insert(name);
  return names;
}

}  // namespace espalier
