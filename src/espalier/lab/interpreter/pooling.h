// Pooling with the windows of graph/ops/pool_rules.h: the input as [n, C, h, w] with all its padding in place, the
// overhang of a last window in ceil mode included.
#pragma once

#include "espalier/lab/interpreter/windows.h"

namespace espalier {

struct Pooling {
  std::vector<int64_t> kernel, strides, dilations, pads, overhang;  // two entries each, pads four; overhang at the ends
  bool one_dim = false;
  at::Tensor x;  // not padded yet

  explicit Pooling(const KernelContext& c);
  std::vector<int64_t> all_pads() const { return {pads[0], pads[1], pads[2] + overhang[0], pads[3] + overhang[1]}; }
  at::Tensor restored(const at::Tensor& y) const { return one_dim ? y.squeeze(2) : y; }
};

}  // namespace espalier
