// Ratios of times from made-up clocks: what a machine may do to them, and when measuring stops.
#include "espalier/lab/measure/time_ratio.h"

#include <gtest/gtest.h>

#include <string>

namespace espalier {
namespace {

TEST(MedianRatio, TakesTheMiddleAndItsOrderStatistics) {
  const TimeRatio odd = median_ratio({5, 1, 3});
  EXPECT_EQ(odd.value, 3);
  EXPECT_EQ(odd.spread, 2);  // three values say no more than their range
  EXPECT_EQ(median_ratio({1, 2, 4, 8}).value, 3);
  // Of 20 values the sixth and the fifteenth: P(5 < Binomial(20, 1/2) < 15) = 0.959.
  std::vector<double> twenty;
  for (int i = 1; i <= 20; ++i) twenty.push_back(i);
  EXPECT_EQ(median_ratio(twenty).value, 10.5);
  EXPECT_EQ(median_ratio(twenty).spread, 4.5);
}

TEST(TimeRatio, IsTheRatioOfSteadyTimesAfterTheLeastRounds) {
  const TimeRatio ratio = measure_time_ratio([] { return 2.0; }, [] { return 1.5; });
  EXPECT_EQ(ratio.value, 0.75);
  EXPECT_EQ(ratio.spread, 0);
  EXPECT_EQ(ratio.rounds, TimingLimits().least_rounds);
}

TEST(TimeRatio, TurnsAreTakenBothWaysRound) {
  std::string order;
  measure_time_ratio([&] { return order += 'a', 1.0; }, [&] { return order += 'b', 1.0; }, {.least_rounds = 4, .most_rounds = 4});
  EXPECT_EQ(order, "abbaabba");
}

// A machine that slows down for good in the middle, and one that gets slower with every single run.
TEST(TimeRatio, SlowSpellsCancel) {
  int runs = 0;
  const auto spell = [&](double seconds) { return ++runs > 10 ? 3 * seconds : seconds; };
  const TimeRatio step = measure_time_ratio([&] { return spell(1.0); }, [&] { return spell(0.8); });
  EXPECT_NEAR(step.value, 0.8, 1e-12);
  EXPECT_NEAR(step.spread, 0, 1e-12);
  double pace = 1;
  const auto drift = [&](double seconds) { return seconds * (pace *= 1.02); };
  const TimeRatio slower = measure_time_ratio([&] { return drift(1.0); }, [&] { return drift(0.8); }, {.least_rounds = 20, .most_rounds = 20});
  EXPECT_NEAR(slower.value, 0.8, 0.001);  // one way round alone would say 0.816
}

TEST(TimeRatio, DisturbedRoundsWidenNothing) {
  int round = 0;
  const TimeRatio ratio = measure_time_ratio([] { return 1.0; }, [&] { return ++round % 5 == 0 ? 40.0 : 0.6; }, {.least_rounds = 25});
  EXPECT_EQ(ratio.value, 0.6);
  EXPECT_EQ(ratio.spread, 0);
}

TEST(TimeRatio, RoundsGoOnWhileTheSpreadIsWideButNotForEver) {
  int round = 0;
  const auto noisy = [&] { return 1 + 0.5 * (++round * 7 % 11) / 11.0; };
  TimingLimits limits{.most_rounds = 40, .seconds = 1e9};
  EXPECT_EQ(measure_time_ratio([] { return 1.0; }, noisy, limits).rounds, 40);
  round = 0;
  limits.seconds = 30;  // a round takes 2.0 to 2.5
  const int rounds = measure_time_ratio([] { return 1.0; }, noisy, limits).rounds;
  EXPECT_GE(rounds, 12);
  EXPECT_LE(rounds, 15);
  limits.seconds = 0;
  EXPECT_EQ(measure_time_ratio([] { return 1.0; }, noisy, limits).rounds, limits.least_rounds);
}

}  // namespace
}  // namespace espalier
