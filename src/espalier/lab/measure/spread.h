// Mean and variance of a few results, as those of several seeds.
#pragma once

#include <vector>

namespace espalier {

struct Spread {
  double mean = 0, variance = 0;  // of a sample: over n − 1
};

// At least two values.
inline Spread spread_of(const std::vector<double>& values) {
  Spread spread;
  const auto n = static_cast<double>(values.size());
  for (double value : values) spread.mean += value / n;
  for (double value : values) spread.variance += (value - spread.mean) * (value - spread.mean) / (n - 1);
  return spread;
}

}  // namespace espalier
