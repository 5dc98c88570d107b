// Windows over 1 or 2 spatial dims, with ATen's 2-D functions (graph/ops/window_rules.h has the attributes).
#pragma once

#include <vector>

#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier {

struct WindowArgs {
  std::vector<int64_t> strides, dilations, pads;
};

inline WindowArgs window_args(const KernelContext& c) {
  const auto spatial = static_cast<size_t>(c.inputs[0].dim() - 2);
  return {c.node.integers_or("strides", std::vector<int64_t>(spatial, 1)),
          c.node.integers_or("dilations", std::vector<int64_t>(spatial, 1)),
          c.node.integers_or("pads", std::vector<int64_t>(2 * spatial, 0))};
}

inline bool symmetric(const std::vector<int64_t>& pads) {
  return std::equal(pads.begin(), pads.begin() + static_cast<int64_t>(pads.size() / 2),
                    pads.begin() + static_cast<int64_t>(pads.size() / 2));
}

// The spatial dims padded with a value; `pads` holds all begins, then all ends.
inline at::Tensor pad_spatial(const at::Tensor& x, const std::vector<int64_t>& pads, double value) {
  std::vector<int64_t> aten;
  for (size_t d = pads.size() / 2; d-- > 0;) {
    aten.push_back(pads[d]);
    aten.push_back(pads[d + pads.size() / 2]);
  }
  return at::constant_pad_nd(x, aten, value);
}

}  // namespace espalier
