// Windows over the spatial dims (graph/ops/window_rules.h) in oneDNN's words.
#pragma once

#include "espalier/engine/ops/lowering.h"
#include "espalier/graph/ops/window_rules.h"

namespace espalier {

struct WindowDims {
  Shape kernel, strides, dilations;  // dilations less one, as oneDNN counts them
  Shape begin, end;                  // padding
};

inline WindowDims window_dims(const Lowering& lowering, Shape kernel) {
  const size_t count = kernel.size();
  const Node& node = lowering.node();
  const auto pads = node.integers_or("pads", Shape(2 * count, 0));
  WindowDims dims{std::move(kernel),
                  node.integers_or("strides", Shape(count, 1)),
                  node.integers_or("dilations", Shape(count, 1)),
                  {pads.begin(), pads.begin() + static_cast<int64_t>(count)},
                  {pads.begin() + static_cast<int64_t>(count), pads.end()}};
  for (int64_t& dilation : dims.dilations) --dilation;
  return dims;
}

}  // namespace espalier
