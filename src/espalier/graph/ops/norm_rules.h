// Rules that LayerNorm and RMSNorm share.
#pragma once

#include "espalier/graph/operator.h"

namespace espalier {

// `weight` and `bias` (both optional) have the width of the last dim, or head_size where the norm runs per head.
inline std::vector<Shape> infer_norm(const NodeView& view) {
  const int64_t width = view.node().integer_or("head_size", view.input(0).back());
  for (const char* role : {"weight", "bias"})
    if (view.node().has_param(role) && view.param(role) != Shape{width})
      shape_mismatch(view, role, to_string({width}), view.param(role));
  return {view.input(0)};
}

}  // namespace espalier
