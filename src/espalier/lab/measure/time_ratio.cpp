#include "espalier/lab/measure/time_ratio.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/signals.h"

namespace espalier {

TimeRatio median_ratio(std::vector<double> ratios) {
  ESP_ASSERT(!ratios.empty());
  std::sort(ratios.begin(), ratios.end());
  const auto count = static_cast<double>(ratios.size());
  const size_t middle = ratios.size() / 2;
  const double median = ratios.size() % 2 ? ratios[middle] : (ratios[middle - 1] + ratios[middle]) / 2;
  // How many rounds lie below the median is binomial, of mean n / 2 and deviation √n / 2; 1.96 of those make 95 %.
  const auto outside = static_cast<size_t>(std::max(0.0, std::floor((count - 1.96 * std::sqrt(count)) / 2)));
  const double low = ratios[outside], high = ratios[ratios.size() - 1 - outside];
  return {median, std::max(high - median, median - low), static_cast<int>(ratios.size())};
}

TimeRatio measure_time_ratio(const std::function<double()>& first, const std::function<double()>& second, const TimingLimits& limits) {
  std::vector<double> ratios;
  TimeRatio ratio;
  double seconds = 0;
  for (int round = 0; round < limits.most_rounds; ++round) {
    check_interrupted();
    double a = 0, b = 0;
    if (round % 2 == 0) a = first(), b = second();
    else b = second(), a = first();
    ratios.push_back(b / a);
    seconds += a + b;
    if (round + 1 < limits.least_rounds) continue;
    ratio = median_ratio(ratios);
    if (ratio.spread <= limits.wanted_spread || seconds >= limits.seconds) return ratio;
  }
  return median_ratio(ratios);
}

}  // namespace espalier
