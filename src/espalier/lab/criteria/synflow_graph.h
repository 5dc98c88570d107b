// SynFlow's scores of a whole graph.
#pragma once

#include <vector>

#include "espalier/graph/graph.h"
#include "espalier/lab/criteria/synflow.h"

namespace espalier {

// Of the weights of these Linear and Conv nodes. The graph runs in fp64 (products over 50 layers overflow fp32) on ones of
// the shapes that were inferred last, its other weights as magnitudes, norms as the identity, biases as zero; R is the sum
// of all outputs. The graph must outlive the scores. UserError: inputs that are token ids.
SynapticScores graph_synapses(const Graph& graph, std::vector<NodeId> layers);

}  // namespace espalier
