// Axes of reductions, as operators of graph/ops/reduce_rules.h have them.
#pragma once

#include <numeric>
#include <vector>

#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier {

inline std::vector<int64_t> reduction_axes(const KernelContext& c) {
  std::vector<int64_t> axes = c.node.integers_or("axes", {});
  if (!axes.empty()) return axes;
  axes.resize(static_cast<size_t>(c.inputs[0].dim()));
  std::iota(axes.begin(), axes.end(), int64_t{0});
  return axes;
}

inline bool keeps_dims(const KernelContext& c) { return c.node.flag_or("keepdims", true); }

}  // namespace espalier
