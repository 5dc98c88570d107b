// Resize of the spatial dims of [n, C, …] to the nearest element or linearly, by ONNX's rules. Channels last: positions
// are mixed, channels are not.
#include <cmath>

#include "espalier/engine/ops/lowering.h"
#include "espalier/engine/ops/parallel.h"

namespace espalier {
namespace {

struct Axis {
  int64_t in = 1, out = 1;
  double scale = 1;
  std::vector<int64_t> low{0}, high{0};
  std::vector<float> share{0};  // of high
};

// Where position i of the output lies in the input (ONNX, coordinate_transformation_mode).
double coordinate(const Axis& axis, int64_t i, const std::string& mode) {
  const auto at = static_cast<double>(i);
  if (mode == "asymmetric") return at / axis.scale;
  if (mode == "align_corners")
    return axis.out == 1 ? 0 : at * static_cast<double>(axis.in - 1) / static_cast<double>(axis.out - 1);
  if (mode == "pytorch_half_pixel" && axis.out == 1) return 0;
  return (at + 0.5) / axis.scale - 0.5;
}

double rounded(double at, const std::string& mode) {
  if (mode == "floor") return std::floor(at);
  if (mode == "ceil") return std::ceil(at);
  return mode == "round_prefer_ceil" ? std::floor(at + 0.5) : std::ceil(at - 0.5);
}

void place(Axis& axis, const Node& node) {
  const std::string coordinates = node.text_or("coordinates", "half_pixel");
  const bool linear = node.text_or("mode", "nearest") == "linear";
  const std::string rounding = node.text_or("nearest_mode", "round_prefer_floor");
  axis.low.clear(), axis.high.clear(), axis.share.clear();
  for (int64_t i = 0; i < axis.out; ++i) {
    const double exact = coordinate(axis, i, coordinates), at = linear ? exact : rounded(exact, rounding);
    const double inside = std::clamp(at, 0.0, static_cast<double>(axis.in - 1));
    axis.low.push_back(static_cast<int64_t>(inside));
    axis.high.push_back(std::min(axis.low.back() + 1, axis.in - 1));
    axis.share.push_back(static_cast<float>(inside - static_cast<double>(axis.low.back())));
  }
}

std::vector<Axis> axes_of(const Lowering& l, const Shape& x) {
  std::vector<Axis> axes;
  if (x.size() == 3) axes.emplace_back();
  for (size_t d = 2; d < x.size(); ++d) {
    Axis axis;
    axis.in = x[d];
    axis.out = l.output_shape()[d];
    axis.scale = l.node().attributes.count("sizes")
                     ? static_cast<double>(axis.out) / static_cast<double>(axis.in)
                     : std::get<std::vector<double>>(l.node().attributes.at("scales"))[d - 2];
    place(axis, l.node());
    axes.push_back(std::move(axis));
  }
  return axes;
}

// One row of the output: top and bottom row of the input, mixed, then along the row.
void resize_row(const float* top, const float* bottom, float share, const Axis& along, int64_t channels, float* y) {
  for (int64_t c = 0; c < along.out; ++c, y += channels) {
    const auto i = static_cast<size_t>(c);
    const int64_t low = along.low[i] * channels, high = along.high[i] * channels;
    const float right = along.share[i];
    if (share == 0 && right == 0) {
      std::copy_n(top + low, channels, y);
      continue;
    }
    for (int64_t k = 0; k < channels; ++k) {
      const float left_mix = top[low + k] * (1 - share) + bottom[low + k] * share;
      const float right_mix = top[high + k] * (1 - share) + bottom[high + k] * share;
      y[k] = left_mix * (1 - right) + right_mix * right;
    }
  }
}

void lower(Lowering& l) {
  const View x = l.channels_last(l.as_type(l.input(0), DType::kF32));
  const View y = l.make(DType::kF32, l.output_shape(), channels_last_strides(l.output_shape()));
  l.step({x}, {y},
         [axes = axes_of(l, x.shape), batch = x.shape[0], channels = x.shape[1],
          work = y.count() * 4](const StepPointers& p) {
           const Axis &h = axes[0], &w = axes[1];
           parallel_parts(batch * h.out, work, [&](int64_t begin, int64_t end) {
             for (int64_t row = begin; row < end; ++row) {
               const float* picture = p.input<float>(0) + row / h.out * h.in * w.in * channels;
               const auto i = static_cast<size_t>(row % h.out);
               resize_row(picture + h.low[i] * w.in * channels, picture + h.high[i] * w.in * channels, h.share[i], w,
                          channels, p.output<float>(0) + row * w.out * channels);
             }
           });
         });
  l.set_output(0, y);
}

const RegisterLowering registered("Resize", lower);

}  // namespace
}  // namespace espalier
