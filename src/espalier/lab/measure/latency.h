// How long a forward takes in the laboratory's interpreter. Only ratios within one run mean anything.
#pragma once

#include <cstdint>
#include <vector>

#include "espalier/families/family.h"

namespace espalier {

// Medians of `rounds` runs in which the graphs take turns, seconds a forward of the model's example (text: a sequence of
// at most 128 tokens). All graphs read what `model` reads.
std::vector<double> forward_seconds(const std::vector<const Graph*>& graphs, const Model& model, int rounds = 5);

// Time of the graph by that of the model's own graph.
double forward_time_ratio(const Graph& graph, const Model& dense, int rounds = 5);

}  // namespace espalier
