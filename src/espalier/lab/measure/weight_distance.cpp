#include "espalier/lab/measure/weight_distance.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

at::Tensor difference(const at::Tensor& a, const at::Tensor& b) {
  ESP_ASSERT(a.sizes() == b.sizes());
  return a.detach().to(at::kDouble) - b.detach().to(at::kDouble);
}

double sum_of_products(const at::Tensor& a, const at::Tensor& b) { return (a * b).sum().item<double>(); }

}  // namespace

double l2_distance(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ESP_ASSERT(a.size() == b.size());
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const at::Tensor gap = difference(a[i], b[i]);
    squares += sum_of_products(gap, gap);
  }
  return std::sqrt(squares);
}

double angle_between(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b, const std::vector<at::Tensor>& origin) {
  ESP_ASSERT(a.size() == b.size() && a.size() == origin.size());
  double product = 0, squares_a = 0, squares_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const at::Tensor to_a = difference(a[i], origin[i]), to_b = difference(b[i], origin[i]);
    product += sum_of_products(to_a, to_b);
    squares_a += sum_of_products(to_a, to_a);
    squares_b += sum_of_products(to_b, to_b);
  }
  if (squares_a == 0 || squares_b == 0) return 0;
  const double cosine = std::clamp(product / std::sqrt(squares_a * squares_b), -1.0, 1.0);
  return std::acos(cosine) * 180 / std::numbers::pi;
}

}  // namespace espalier
