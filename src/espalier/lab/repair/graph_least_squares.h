// Least-squares reconstruction of any graph, node by node (least_squares.h has the form for decoders, which streams).
#pragma once

#include <cstdint>

#include "espalier/lab/repair/least_squares.h"

namespace espalier {

// As repair_by_least_squares: Linear and Conv layers that lost inputs or single weights are fitted to what the dense
// model's layer gives, in the order in which they run, on the request's pictures or on noise. Which outputs a layer kept is
// known as long as its weights are those of the dense model, cut; else it stays as it is, with a warning. UserError when no
// layer has anything to fit.
void repair_graph_by_least_squares(PruneJob& job, const LeastSquaresOptions& options);

}  // namespace espalier
