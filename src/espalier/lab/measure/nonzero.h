// How many weights are not zero.
#pragma once

#include <cstdint>

#include "espalier/graph/graph.h"

namespace espalier {

// Of what Graph::parameter_count() counts.
int64_t nonzero_count(const Graph& graph);

}  // namespace espalier
