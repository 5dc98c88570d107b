#include <algorithm>
#include <cmath>

#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::resize_kernel {
namespace {

struct Axis {
  int64_t in, out;
  double scale;
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

at::Tensor nearest(const at::Tensor& x, int64_t dim, const Axis& axis, const std::string& coordinates,
                   const std::string& rounding) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < axis.out; ++i)
    indices.push_back(
        std::clamp<int64_t>(static_cast<int64_t>(rounded(coordinate(axis, i, coordinates), rounding)), 0, axis.in - 1));
  return at::index_select(x, dim, at::tensor(indices, at::kLong));
}

at::Tensor linear(const at::Tensor& x, int64_t dim, const Axis& axis, const std::string& coordinates) {
  std::vector<int64_t> low, high;
  std::vector<double> share;
  for (int64_t i = 0; i < axis.out; ++i) {
    const double at = std::clamp(coordinate(axis, i, coordinates), 0.0, static_cast<double>(axis.in - 1));
    low.push_back(static_cast<int64_t>(at));
    high.push_back(std::min(low.back() + 1, axis.in - 1));
    share.push_back(at - static_cast<double>(low.back()));
  }
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[static_cast<size_t>(dim)] = axis.out;
  const at::Tensor weight = at::tensor(share, x.options().requires_grad(false)).view(shape);
  return at::index_select(x, dim, at::tensor(low, at::kLong)) * (1 - weight) +
         at::index_select(x, dim, at::tensor(high, at::kLong)) * weight;
}

const RegisterKernel registered("Resize", [](const KernelContext& c) -> std::vector<at::Tensor> {
  at::Tensor x = c.inputs[0];
  const std::string coordinates = c.node.text_or("coordinates", "half_pixel");
  for (int64_t d = 2; d < c.inputs[0].dim(); ++d) {
    const auto i = static_cast<size_t>(d - 2);
    Axis axis{x.size(d), 0, 0};
    if (c.node.attributes.count("sizes")) {
      axis.out = c.node.integers("sizes")[i];
      axis.scale = static_cast<double>(axis.out) / static_cast<double>(axis.in);
    } else {
      axis.scale = std::get<std::vector<double>>(c.node.attributes.at("scales"))[i];
      axis.out = static_cast<int64_t>(std::floor(static_cast<double>(axis.in) * axis.scale));
    }
    x = c.node.text_or("mode", "nearest") == "linear"
            ? linear(x, d, axis, coordinates)
            : nearest(x, d, axis, coordinates, c.node.text_or("nearest_mode", "round_prefer_floor"));
  }
  return {x};
});

}  // namespace
}  // namespace espalier::resize_kernel
