// What reads what among the nodes of one graph, and the cycles in it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/onnx/model.h"

namespace espalier {

// The names that a node takes from its graph and from those around it: its inputs, and what its subgraphs capture.
std::vector<std::string_view> onnx_reads(const OnnxNode& node);

// The vertices of one cycle in order, or nothing; edges[i] lists where vertex i leads.
std::vector<size_t> find_cycle(const std::vector<std::vector<size_t>>& edges);

// Why node `reader`, which reads `name`, stands before the node that produces it: the cycle, if there is one, or the
// wrong order.
std::string describe_disorder(const std::vector<OnnxNode>& nodes, size_t reader, size_t producer,
                              std::string_view name);

}  // namespace espalier
