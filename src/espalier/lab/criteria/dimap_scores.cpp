#include "espalier/lab/criteria/dimap_scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {

at::Tensor dimap_scores(const at::Tensor& weight, const std::string& name) {
  const at::Tensor wide = weight.to(at::kDouble).contiguous();
  const double* w = wide.data_ptr<double>();
  const int64_t n = wide.numel();
  for (int64_t i = 0; i < n; ++i)
    if (!std::isfinite(w[i])) throw UserError(name, "weights", "finite numbers", fmt::format("{} at position {}", w[i], i));
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [w](int64_t a, int64_t b) {
    const double left = std::fabs(w[a]), right = std::fabs(w[b]);
    return left != right ? left > right : a < b;
  });
  at::Tensor scores = at::zeros_like(wide);
  double* score = scores.data_ptr<double>();
  double sum = 0;  // from the largest down, so that the tail does not drown
  for (int64_t i : order) {
    const double square = w[i] * w[i];
    sum += square;
    if (sum > 0) score[i] = square / sum;
  }
  return scores;
}

}  // namespace espalier
