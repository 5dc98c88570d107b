// Norms and activations that exporters write as several operators become the one that they are, without which the
// reductions inside would freeze the residual stream (SPA, section A, rule 8).
#pragma once

#include "espalier/graph/graph.h"

namespace espalier {

// The graph has inferred shapes. Values that others read, or that are outputs, stay: only nodes that nobody reads any
// more may be dropped afterwards (Graph::drop_unread_nodes).
void fuse_patterns(Graph& graph);

}  // namespace espalier
