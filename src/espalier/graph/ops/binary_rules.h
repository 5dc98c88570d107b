// Rules of elementwise operators with several inputs, which broadcast.
#pragma once

#include "espalier/graph/ops/broadcast_rules.h"

namespace espalier {

inline std::vector<Shape> infer_binary(const NodeView& view) { return {broadcast_inputs(view)}; }

inline Cost cost_binary(const NodeView& view) { return elementwise_cost(view, 1); }

inline void couple_binary(Coupler& coupler, const NodeView& view) { couple_broadcast(coupler, view); }

}  // namespace espalier
