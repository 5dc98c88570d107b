// Rules of elementwise operators with two inputs of one shape.
#pragma once

#include "espalier/graph/operator.h"

namespace espalier {

inline std::vector<Shape> infer_binary(const NodeView& view) {
  if (view.input(0) != view.input(1)) shape_mismatch(view, "second input", to_string(view.input(0)), view.input(1));
  return {view.input(0)};
}

inline Cost cost_binary(const NodeView& view) { return elementwise_cost(view, 1); }

inline void couple_binary(Coupler& coupler, const NodeView&) {
  coupler.tie_all(coupler.input(0, -1), coupler.input(1, -1));
  coupler.pass_through();
}

}  // namespace espalier
