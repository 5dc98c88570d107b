// MaxPool and AveragePool through oneDNN, channels last. Where its rules are not ours (windows in the overhang of ceil
// mode, dilated means), the mean is divided by what counts.
#include <limits>

#include "espalier/engine/ops/dnnl_tools.h"
#include "espalier/engine/ops/parallel.h"
#include "espalier/engine/ops/windows.h"

namespace espalier {
namespace {

struct Axis {
  int64_t in, out, kernel, stride, dilation, begin, end;
};

// Two spatial axes, the first of size 1 where there is but one.
std::vector<Axis> axes_of(const Shape& x, const Shape& y, const WindowDims& w) {
  std::vector<Axis> axes;
  if (x.size() == 3) axes.push_back({1, 1, 1, 1, 1, 0, 0});
  for (size_t i = 0; i < w.kernel.size(); ++i)
    axes.push_back({x[i + 2], y[i + 2], w.kernel[i], w.strides[i], w.dilations[i] + 1, w.begin[i], w.end[i]});
  return axes;
}

// How many positions of a window count: those of the input, and of the stated padding if it is included, but never
// those beyond it.
int64_t counted(const Axis& a, int64_t window, bool padding) {
  int64_t count = 0;
  for (int64_t k = 0; k < a.kernel; ++k) {
    const int64_t at = window * a.stride + k - a.begin;
    count += padding ? at < a.in + a.end : at >= 0 && at < a.in;
  }
  return count;
}

struct Pool {
  std::vector<Axis> axes;
  int64_t batch, channels;
  bool maximum, padding;

  void window(const float* x, float* y, int64_t top, int64_t left) const {
    const Axis &h = axes[0], &w = axes[1];
    std::fill(y, y + channels, maximum ? -std::numeric_limits<float>::infinity() : 0.0f);
    for (int64_t i = 0; i < h.kernel; ++i)
      for (int64_t j = 0; j < w.kernel; ++j) {
        const int64_t r = top * h.stride + i * h.dilation - h.begin, c = left * w.stride + j * w.dilation - w.begin;
        if (r < 0 || r >= h.in || c < 0 || c >= w.in) continue;
        const float* from = x + (r * w.in + c) * channels;
        for (int64_t k = 0; k < channels; ++k) y[k] = maximum ? std::max(y[k], from[k]) : y[k] + from[k];
      }
    if (maximum) return;
    const float share = 1.0f / static_cast<float>(counted(h, top, padding) * counted(w, left, padding));
    for (int64_t k = 0; k < channels; ++k) y[k] *= share;
  }

  void run(const float* x, float* y) const {
    const Axis &h = axes[0], &w = axes[1];
    parallel_parts(
        batch * h.out, batch * h.out * w.out * channels * h.kernel * w.kernel, [&](int64_t begin, int64_t end) {
          for (int64_t row = begin; row < end; ++row)
            for (int64_t left = 0; left < w.out; ++left)
              window(x + row / h.out * h.in * w.in * channels, y + (row * w.out + left) * channels, row % h.out, left);
        });
  }
};

void lower(Lowering& l, bool maximum) {
  const View x = l.channels_last(l.as_type(l.input(0), DType::kF32));
  const Shape& shape = l.output_shape();
  const View y = l.make(DType::kF32, shape, channels_last_strides(shape));
  const Pool pool{axes_of(x.shape, shape, window_dims(l, l.node().integers("kernel_shape"))), x.shape[0], x.shape[1],
                  maximum, l.node().flag_or("count_include_pad", false)};
  l.step({x}, {y}, [pool](const StepPointers& p) { pool.run(p.input<float>(0), p.output<float>(0)); });
  l.set_output(0, y);
}

const RegisterLowering max_pool("MaxPool", [](Lowering& l) { lower(l, true); });
const RegisterLowering average_pool("AveragePool", [](Lowering& l) { lower(l, false); });

}  // namespace
}  // namespace espalier
