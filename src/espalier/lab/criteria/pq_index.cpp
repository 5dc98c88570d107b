#include "espalier/lab/criteria/pq_index.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "espalier/core/error.h"
#include "espalier/core/thread_pool.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr int64_t kGrain = 1 << 16;

// |w| as fp64. The caller holds it.
at::Tensor finite_magnitudes(const at::Tensor& entries, const std::string& where) {
  const at::Tensor values = entries.detach().to(at::kDouble).abs().contiguous().flatten();
  if (values.numel() > 0 && !std::isfinite(values.max().item<double>())) user_error("{}: holds a weight that is not finite", where);
  return values;
}

double power(double x, double p) {
  if (p == 1) return x;
  if (p == 0.5) return std::sqrt(x);
  return p == 2 ? x * x : std::pow(x, p);
}

double sum_of_powers(std::span<const double> values, double largest, double p) {
  const auto slice = [&](int64_t begin, int64_t end) {
    double sum = 0;
    for (int64_t i = begin; i < end; ++i) sum += power(values[static_cast<size_t>(i)] / largest, p);
    return sum;
  };
  return parallel_reduce(0, std::ssize(values), kGrain, 0.0, slice, [](double a, double b) { return a + b; });
}

}  // namespace

void check_pq(double p, double q, const std::string& where) {
  if (!(p > 0 && p < q && std::isfinite(q))) throw UserError(where, "p and q", "0 < p < q", fmt::format("p {}, q {}", p, q));
}

PqSums::PqSums(double p, double q, std::string where) : p_(p), q_(q), where_(std::move(where)) { check_pq(p, q, where_); }

void PqSums::add(const at::Tensor& entries) {
  const at::Tensor held = finite_magnitudes(entries, where_);
  const auto values = doubles(held);
  count_ += std::ssize(values);
  const double largest = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
  if (largest > largest_) {
    sum_p_ *= std::pow(largest_ / largest, p_);
    sum_q_ *= std::pow(largest_ / largest, q_);
    largest_ = largest;
  }
  if (largest_ == 0) return;
  sum_p_ += sum_of_powers(values, largest_, p_);
  sum_q_ += sum_of_powers(values, largest_, q_);
}

double PqSums::index() const {
  if (largest_ == 0) return 0;
  const double length = std::pow(static_cast<double>(count_), 1 / q_ - 1 / p_);
  return std::max(0.0, 1 - length * std::pow(sum_p_, 1 / p_) / std::pow(sum_q_, 1 / q_));  // below 0 by rounding
}

double pq_index(const at::Tensor& entries, double p, double q, const std::string& where) {
  PqSums sums(p, q, where);
  sums.add(entries);
  return sums.index();
}

double gini_index(const at::Tensor& entries, const std::string& where) {
  const at::Tensor held = finite_magnitudes(entries, where);
  auto values = doubles(held);
  std::sort(values.begin(), values.end());
  const auto d = static_cast<double>(values.size());
  double weighted = 0, sum = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    weighted += (2 * static_cast<double>(i + 1) - d - 1) * values[i];
    sum += values[i];
  }
  return sum > 0 ? weighted / (d * sum) : 0;
}

}  // namespace espalier
