#include "espalier/lab/interpreter/pooling.h"

#include <algorithm>

namespace espalier {

Pooling::Pooling(const KernelContext& c) : kernel(c.node.integers("kernel_shape")), x(c.inputs[0]) {
  const WindowArgs window = window_args(c);
  strides = window.strides;
  dilations = window.dilations;
  pads = window.pads;
  if (x.dim() == 3) {
    one_dim = true;
    x = x.unsqueeze(2);
    for (auto* list : {&kernel, &strides, &dilations}) list->insert(list->begin(), 1);
    pads = {0, pads[0], 0, pads[1]};
  }
  overhang = {0, 0};
  if (!c.node.flag_or("ceil_mode", false)) return;
  for (size_t i = 0; i < 2; ++i) {
    const int64_t size = x.size(static_cast<int64_t>(i) + 2), extent = dilations[i] * (kernel[i] - 1) + 1;
    const int64_t room = size + pads[i] + pads[i + 2] - extent;
    int64_t windows = (room + strides[i] - 1) / strides[i] + 1;
    if ((windows - 1) * strides[i] >= size + pads[i]) --windows;
    overhang[i] = std::max<int64_t>(0, (windows - 1) * strides[i] - room);
  }
}

}  // namespace espalier
