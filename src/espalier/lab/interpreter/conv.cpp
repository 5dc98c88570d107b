#include <algorithm>

#include "espalier/lab/interpreter/windows.h"

namespace espalier::conv_kernel {
namespace {

// By the functions of a number of dims: mixed precision knows these, not at::convolution beneath them.
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const WindowArgs& window,
                       const std::vector<int64_t>& pads, int64_t groups) {
  switch (x.dim()) {
    case 3: return at::conv1d(x, weight, bias, window.strides, pads, window.dilations, groups);
    case 4: return at::conv2d(x, weight, bias, window.strides, pads, window.dilations, groups);
    default: return at::conv3d(x, weight, bias, window.strides, pads, window.dilations, groups);
  }
}

const RegisterKernel registered("Conv", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const WindowArgs window = window_args(c);
  at::Tensor x = c.inputs[0];
  std::vector<int64_t> pads(window.pads.begin(), window.pads.begin() + std::ssize(window.pads) / 2);
  if (!symmetric(window.pads)) {
    x = pad_spatial(x, window.pads, 0);
    std::fill(pads.begin(), pads.end(), 0);
  }
  return {convolution(x, c.param("weight"), c.optional_param("bias"), window, pads, c.node.integer_or("group", 1))};
});

}  // namespace
}  // namespace espalier::conv_kernel
