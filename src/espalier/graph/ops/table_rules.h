// Shared by operators that look rows up in a table `weight` [rows, width], one a token. The rows are never cut.
#pragma once

#include "espalier/graph/operator.h"

namespace espalier {

// A lookup reads one row a token.
inline Cost lookup_cost(const NodeView& view) {
  const double tokens = static_cast<double>(element_count(view.input(0)));
  return {0, view.param_bytes() / static_cast<double>(view.param("weight")[0]) * tokens};
}

inline void couple_table(Coupler& coupler, const NodeView&) {
  coupler.freeze(coupler.param("weight", 0));
  coupler.set_output(0, -1, coupler.param("weight", 1));
}

}  // namespace espalier
