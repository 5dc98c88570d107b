// The graphs of SPA's golden cases: {inputs, params, nodes [{op, in, out, attr}], outputs, policy}, where Gemm weights
// are (out, in) and windows are known by the spatial sizes `h` and `w` that they leave.
#pragma once

#include "espalier/graph/graph.h"
#include "espalier/structure/coupling.h"
#include "runner.h"

namespace espalier::golden {

struct SpaGraph {
  Graph graph;
  CouplingOptions options;
};

// Parameters hold the inputs of the case, in the order of params.order, else of the graph's params.
SpaGraph read_spa_graph(const Case& c);

}  // namespace espalier::golden
