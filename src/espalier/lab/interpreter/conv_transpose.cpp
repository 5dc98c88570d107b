#include <algorithm>

#include "espalier/lab/interpreter/windows.h"

namespace espalier::conv_transpose_kernel {
namespace {
// ATen computes the whole output; what the pads take away is cut off.
const RegisterKernel registered("ConvTranspose", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const WindowArgs window = window_args(c);
  const size_t spatial = window.strides.size();
  const std::vector<int64_t> none(spatial, 0);
  at::Tensor y =
      at::convolution(c.inputs[0], c.param("weight"), c.optional_param("bias"), window.strides, none, window.dilations,
                      /*transposed=*/true, c.node.integers_or("output_padding", none), c.node.integer_or("group", 1));
  for (size_t i = 0; i < spatial; ++i) {
    const auto axis = static_cast<int64_t>(i + 2);
    y = y.narrow(axis, window.pads[i], y.size(axis) - window.pads[i] - window.pads[i + spatial]);
  }
  return {y};
});
}  // namespace
}  // namespace espalier::conv_transpose_kernel
