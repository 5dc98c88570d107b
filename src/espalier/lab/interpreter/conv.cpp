#include <algorithm>

#include "espalier/lab/interpreter/windows.h"

namespace espalier {
namespace {
const RegisterKernel registered("Conv", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const WindowArgs window = window_args(c);
  at::Tensor x = c.inputs[0];
  std::vector<int64_t> pads(window.pads.begin(), window.pads.begin() + std::ssize(window.pads) / 2);
  if (!symmetric(window.pads)) {
    x = pad_spatial(x, window.pads, 0);
    std::fill(pads.begin(), pads.end(), 0);
  }
  return {at::convolution(x, c.param("weight"), c.optional_param("bias"), window.strides, pads, window.dilations,
                          /*transposed=*/false, std::vector<int64_t>(pads.size(), 0), c.node.integer_or("group", 1))};
});
}  // namespace
}  // namespace espalier
