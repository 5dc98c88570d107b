// Rules that LayerNorm and RMSNorm share. With the attribute `head_size` they run over each run of that many channels
// (QK norm) and `weight` and `bias` have that size. The parameter `mask` [width], 1 or 0, is how a unit mask tells a
// norm which channels remain: its statistics count those only, as they will after the cut.
#pragma once

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier {

inline std::vector<Shape> infer_norm(const NodeView& view) {
  const int64_t last = view.input(0).back(), width = view.node().integer_or("head_size", last);
  if (width == 0 || last % width != 0)
    shape_mismatch(view, "width", fmt::format("a multiple of the head size {}", width), view.input(0));
  for (const char* role : {"weight", "bias"})
    if (view.node().has_param(role) && view.param(role) != Shape{width})
      shape_mismatch(view, role, to_string({width}), view.param(role));
  if (view.node().has_param("mask") && view.param("mask") != Shape{last})
    shape_mismatch(view, "mask", to_string({last}), view.param("mask"));
  return {view.input(0)};
}

// A QK norm's weight belongs to every head at once, so it is never cut.
inline void couple_norm(Coupler& coupler, const NodeView& view) {
  const int64_t head_size = view.node().integer_or("head_size", 0);
  if (head_size > 0) {
    coupler.tie_runs(coupler.input(0, -1), head_size);
  } else {
    coupler.statistics_over(coupler.input(0, -1));
  }
  for (const char* role : {"weight", "bias", "mask"}) {
    if (!view.node().has_param(role)) continue;
    if (head_size > 0) {
      coupler.freeze(coupler.param(role, 0));
    } else {
      coupler.tie_all(coupler.input(0, -1), coupler.param(role, 0));
    }
  }
  coupler.pass_through();
}

}  // namespace espalier
