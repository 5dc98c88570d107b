// Pooling over windows. Attributes: `kernel_shape`, those of window_rules.h, and the flag `ceil_mode`.
#pragma once

#include "espalier/graph/ops/channel_rules.h"
#include "espalier/graph/ops/window_rules.h"

namespace espalier {

inline std::vector<Shape> infer_pool(const NodeView& view) {
  const Shape& x = view.input(0);
  check_rank(view, x, 3, 4);
  const Window window = window_of(view, view.node().integers("kernel_shape"));
  check_entries(view, "kernel_shape", window.kernel, x.size() - 2, 1);
  Shape out{x[0], x[1]};
  for (size_t i = 0; i < window.kernel.size(); ++i) {
    if (std::max(window.pads[i], window.pads[i + window.kernel.size()]) >= window.extent(i))
      throw UserError(view.node().name, "pads", fmt::format("less than the window {}", window.extent(i)),
                      fmt::format("{}", std::max(window.pads[i], window.pads[i + window.kernel.size()])));
    out.push_back(window_count(view, window, i, x[i + 2], view.node().flag_or("ceil_mode", false)));
  }
  return {out};
}

inline Cost cost_pool(const NodeView& view) {
  double kernel = 1;
  for (int64_t size : view.node().integers("kernel_shape")) kernel *= static_cast<double>(size);
  return elementwise_cost(view, kernel);
}

// Global pooling keeps the spatial dims with size 1.
inline std::vector<Shape> infer_global_pool(const NodeView& view) {
  check_rank(view, view.input(0), 3, 8);
  Shape out(view.input(0).size(), 1);
  std::copy_n(view.input(0).begin(), 2, out.begin());
  return {out};
}

inline Cost cost_global_pool(const NodeView& view) { return {static_cast<double>(element_count(view.input(0))), 0}; }

// Positions are not channels: live spatial dims are frozen, batch and channels pass.
inline void couple_pool(Coupler& coupler, const NodeView& view) {
  freeze_positions(coupler, view);
  for (int axis = 0; axis < 2; ++axis) coupler.set_output(0, axis, coupler.input(0, axis));
}

}  // namespace espalier
