// Shares with their intervals; medians and spreads of repeated timings.
#pragma once

#include <chrono>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

struct Estimate {
  double value = 0, low = 0, high = 0;  // with its 95 % interval
};

// A share of `count` with Wilson's 95 % interval.
Estimate share(int64_t hits, int64_t count);

double quantile(std::vector<double> values, double share);  // 0 of nothing
inline double median(const std::vector<double>& values) { return quantile(values, 0.5); }
Json spread(const std::vector<double>& values);  // {"median", "p05", "p95"}

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace espalier
