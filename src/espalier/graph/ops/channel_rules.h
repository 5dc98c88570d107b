// Rules of norms over the channels of [batch, channels, …]: optional parameters of one entry a channel.
#pragma once

#include <initializer_list>

#include "espalier/graph/operator.h"

namespace espalier {

inline void check_channel_params(const NodeView& view, std::initializer_list<const char*> roles) {
  check_rank(view, view.input(0), 2, 8);
  const Shape expected{view.input(0)[1]};
  for (const char* role : roles)
    if (view.node().has_param(role) && view.param(role) != expected)
      shape_mismatch(view, role, to_string(expected), view.param(role));
}

// Live positions are no channels of the node: a window or a statistic runs over them.
inline void freeze_positions(Coupler& coupler, const NodeView& view) {
  for (int axis = 2; axis < static_cast<int>(view.input(0).size()); ++axis) coupler.freeze(coupler.input(0, axis));
}

inline void couple_channel_params(Coupler& coupler, const NodeView& view, std::initializer_list<const char*> roles) {
  for (const char* role : roles)
    if (view.node().has_param(role)) coupler.tie_all(coupler.input(0, 1), coupler.param(role, 0));
}

}  // namespace espalier
