// The search for a share of a measured time, on made-up measurements and a made-up clock.
#include "espalier/lab/allocation/time_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "espalier/core/rng.h"

namespace espalier {
namespace {

double no_time() { return 0; }

// Each of 1000 things takes a thousandth off.
MeasuredShare exact(int64_t count) { return {static_cast<double>(count) / 1000, 0}; }

TEST(TimeSearch, FindsTheFewestOfExactMeasurements) {
  for (const double share : {0.0005, 0.2, 0.2004, 0.999, 1.0}) {
    const TimeSearchResult found = fewest_for_time(1000, share, exact, no_time, {.step = 0});
    EXPECT_EQ(found.count, static_cast<int64_t>(std::ceil(share * 1000 - 1e-9))) << share;
    EXPECT_EQ(found.end, TimeSearchEnd::kFound);
    EXPECT_LE(found.measurements, 12);
  }
}

TEST(TimeSearch, IsContentWithinAStep) {
  std::vector<int64_t> asked;
  const TimeSearchResult found = fewest_for_time(1000, 0.2, [&](int64_t count) { return asked.push_back(count), exact(count); }, no_time, {.step = 0.03});
  EXPECT_EQ(asked, (std::vector<int64_t>{1000, 500, 250, 125, 187, 218, 218}));
  EXPECT_EQ(found.count, 218);
  EXPECT_EQ(found.end, TimeSearchEnd::kFound);
}

TEST(TimeSearch, StopsWhereTheSpreadHidesTheDifference) {
  int measurements = 0;
  const TimeSearchResult found = fewest_for_time(1000, 0.2, [&](int64_t count) { return ++measurements, MeasuredShare{exact(count).value, 0.06}; }, no_time);
  EXPECT_EQ(found.count, 250);  // 0.25 ± 0.06 may be 0.2
  EXPECT_EQ(found.end, TimeSearchEnd::kNoise);
  EXPECT_EQ(found.measurements, measurements);
  EXPECT_EQ(measurements, 4);
}

TEST(TimeSearch, StopsBeforeAMeasurementThatWouldEndTooLate) {
  double clock = 100;
  const auto slow = [&](int64_t count) { return clock += 10, exact(count); };
  const auto seconds = [&] { return clock; };
  const TimeSearchResult found = fewest_for_time(1000, 0.2, slow, seconds, {.seconds = 35});
  EXPECT_EQ(found.end, TimeSearchEnd::kTime);
  EXPECT_EQ(found.measurements, 3);
  EXPECT_EQ(found.count, 250);
  EXPECT_EQ(clock, 130);
  const TimeSearchResult at_once = fewest_for_time(1000, 0.2, slow, seconds, {.seconds = 5});
  EXPECT_EQ(at_once.end, TimeSearchEnd::kTime);
  EXPECT_EQ(at_once.count, 1000);
}

TEST(TimeSearch, SaysWhenAllIsTooLittle) {
  const TimeSearchResult found = fewest_for_time(7, 0.5, [](int64_t) { return MeasuredShare{0.3, 0.01}; }, no_time);
  EXPECT_EQ(found.end, TimeSearchEnd::kShortfall);
  EXPECT_EQ(found.count, 7);
  EXPECT_EQ(found.gone.value, 0.3);
  EXPECT_EQ(fewest_for_time(1, 0.5, [](int64_t) { return MeasuredShare{0.6, 0}; }, no_time).count, 1);
}

// While the machine was busy everything seemed to take half as long again off.
TEST(TimeSearch, WhatOnlyLookedEnoughIsFoundOutAndPassed) {
  int measurements = 0;
  const auto busy_at_first = [&](int64_t count) { return MeasuredShare{exact(count).value * (++measurements <= 6 ? 1.5 : 1), 0.01}; };
  const TimeSearchResult found = fewest_for_time(1000, 0.3, busy_at_first, no_time);
  EXPECT_EQ(found.end, TimeSearchEnd::kFound);
  EXPECT_GE(exact(found.count).value, 0.29);
  EXPECT_LE(exact(found.count).value, 0.33);
  int calls = 0;
  const TimeSearchResult never = fewest_for_time(1, 0.5, [&](int64_t) { return MeasuredShare{++calls == 1 ? 0.6 : 0.4, 0.01}; }, no_time);
  EXPECT_EQ(never.end, TimeSearchEnd::kShortfall);
  EXPECT_EQ(never.gone.value, 0.4);
}

// Measurements that err within their spread: what is found may miss what was asked for by as much, and by a step.
TEST(TimeSearch, NoisyMeasurementsMissByTheirSpreadAndAStep) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng(seed, "noise");
    constexpr double kSpread = 0.015;
    const auto noisy = [&](int64_t count) { return MeasuredShare{exact(count).value + kSpread * (2 * rng.uniform() - 1), kSpread}; };
    const TimeSearchResult found = fewest_for_time(1000, 0.3, noisy, no_time);
    EXPECT_GE(found.gone.value, 0.3 - kSpread);
    EXPECT_GE(exact(found.count).value, 0.3 - kSpread) << seed;
    EXPECT_LE(exact(found.count).value, 0.3 + 0.02 + 2 * kSpread) << seed;
  }
}

}  // namespace
}  // namespace espalier
