// The ratio of two times on a machine that does other things as well.
#pragma once

#include <functional>
#include <vector>

namespace espalier {

struct TimeRatio {
  double value = 1;   // median over rounds of second / first
  double spread = 0;  // half of a 95 % interval of that median, the wider side
  int rounds = 0;
};

struct TimingLimits {
  int least_rounds = 9, most_rounds = 99;
  double wanted_spread = 0.01;  // rounds stop when the spread is no wider …
  double seconds = 10;          // … or both together took so long, after the least rounds
};

// Both take turns, and every other round the second goes first, so that a slower or faster spell of the machine falls on
// both; a round counts by its ratio. The functions run the thing once and return its seconds. The interval comes from order
// statistics, so that a few rounds that another program disturbed widen nothing.
TimeRatio measure_time_ratio(const std::function<double()>& first, const std::function<double()>& second, const TimingLimits& limits = {});

// Of single ratios (at least one): what the above returns.
TimeRatio median_ratio(std::vector<double> ratios);

}  // namespace espalier
