// What convolutions and pooling share: windows that slide over the spatial dims of [batch, channels, …]. Attributes,
// one entry a spatial dim: `strides` and `dilations` (default 1), `pads` (all begins, then all ends; default 0).
#pragma once

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier {

struct Window {
  std::vector<int64_t> kernel, strides, dilations, pads;
  int64_t extent(size_t i) const { return dilations[i] * (kernel[i] - 1) + 1; }
  int64_t padding(size_t i) const { return pads[i] + pads[i + kernel.size()]; }
};

inline void check_entries(const NodeView& view, const std::string& key, const std::vector<int64_t>& values,
                          size_t count, int64_t least) {
  constexpr int64_t kMost = int64_t{1} << 31;
  if (values.size() != count)
    throw UserError(view.node().name, key, fmt::format("{} numbers", count), fmt::format("{}", values.size()));
  for (int64_t value : values)
    if (value < least || value > kMost)
      throw UserError(view.node().name, key, fmt::format("numbers of {} to 2^31", least), fmt::format("{}", value));
}

inline Window window_of(const NodeView& view, std::vector<int64_t> kernel) {
  const size_t count = kernel.size();
  Window window{std::move(kernel), view.node().integers_or("strides", std::vector<int64_t>(count, 1)),
                view.node().integers_or("dilations", std::vector<int64_t>(count, 1)),
                view.node().integers_or("pads", std::vector<int64_t>(2 * count, 0))};
  check_entries(view, "kernel", window.kernel, count, 1);
  check_entries(view, "strides", window.strides, count, 1);
  check_entries(view, "dilations", window.dilations, count, 1);
  check_entries(view, "pads", window.pads, 2 * count, 0);
  return window;
}

// How many windows fit into `size` positions of spatial dim i. With `ceil` a last one may overhang the end, unless it
// would start beyond the input and its padding at the begin.
inline int64_t window_count(const NodeView& view, const Window& window, size_t i, int64_t size, bool ceil) {
  const int64_t room = size + window.padding(i) - window.extent(i), stride = window.strides[i];
  if (room < 0)
    throw UserError(view.node().name, "window", fmt::format("at most the padded size {}", size + window.padding(i)),
                    fmt::format("{}", window.extent(i)));
  if (!ceil) return room / stride + 1;
  const int64_t count = (room + stride - 1) / stride + 1;
  return (count - 1) * stride >= size + window.pads[i] ? count - 1 : count;
}

}  // namespace espalier
