#include "espalier/engine/statistics.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {

Estimate share(int64_t hits, int64_t count) {
  if (count < 1) user_error("a share of nothing: no case was measured");
  constexpr double kZ = 1.959963984540054;
  const double n = static_cast<double>(count), p = static_cast<double>(hits) / n;
  const double centre = (p + kZ * kZ / (2 * n)) / (1 + kZ * kZ / n);
  const double half = kZ / (1 + kZ * kZ / n) * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  return {p, std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

// Linear interpolation between order statistics.
double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = share * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

Json spread(const std::vector<double>& values) {
  return {{"median", median(values)}, {"p05", quantile(values, 0.05)}, {"p95", quantile(values, 0.95)}};
}

}  // namespace espalier
