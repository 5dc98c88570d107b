#include "espalier/lab/training/density_schedule.h"

#include <gtest/gtest.h>

#include "tests/support.h"

namespace espalier {
namespace {

constexpr DensityShape kAll[] = {DensityShape::kGeometric, DensityShape::kLinear, DensityShape::kCubic};

TEST(DensityCurve, FollowsItsFormula) {
  EXPECT_DOUBLE_EQ((DensityCurve{DensityShape::kGeometric, 1, 0.25}).at(0.5), 0.5);
  EXPECT_DOUBLE_EQ((DensityCurve{DensityShape::kLinear, 1, 0.25}).at(0.2), 0.85);
  EXPECT_DOUBLE_EQ((DensityCurve{DensityShape::kCubic, 0.8, 0.2}).at(0.5), 0.2 + 0.6 / 8);
}

TEST(DensityCurve, HoldsItsEndsOutsideAndItsMeanIsItsIntegral) {
  for (const DensityShape shape : kAll) {
    const DensityCurve curve{shape, 0.9, 0.15};
    EXPECT_EQ(curve.at(-3), 0.9);
    EXPECT_EQ(curve.at(7), 0.15);
    constexpr int kSlices = 2000;
    double sum = 0;
    for (int i = 0; i < kSlices; ++i) sum += curve.at((i + 0.5) / kSlices);
    EXPECT_NEAR(curve.mean(), sum / kSlices, 1e-6);
    EXPECT_EQ((DensityCurve{shape, 0.3, 0.3}).mean(), 0.3);
  }
}

TEST(DensitySchedule, ChangesInStairsAndEndsExactly) {
  const DensitySchedule schedule{{DensityShape::kLinear, 1, 0.5}, 10, 20, 4};
  std::vector<int64_t> updates;
  for (int64_t t = 0; t < 30; ++t)
    if (schedule.updates(t)) updates.push_back(t);
  EXPECT_EQ(updates, (std::vector<int64_t>{10, 14, 18, 20}));
  EXPECT_EQ(schedule.at(9), 1);
  EXPECT_EQ(schedule.at(13), 1);
  EXPECT_DOUBLE_EQ(schedule.at(14), 0.8);
  EXPECT_DOUBLE_EQ(schedule.at(17), 0.8);
  EXPECT_DOUBLE_EQ(schedule.at(19), 0.6);
  EXPECT_EQ(schedule.at(20), 0.5);
  EXPECT_EQ(schedule.at(1000), 0.5);
  EXPECT_DOUBLE_EQ(schedule.exact(17), 0.65);
}

TEST(DensitySchedule, OfNoLengthIsOneShot) {
  const DensitySchedule schedule{{DensityShape::kCubic, 1, 0.1}, 5, 5, 1};
  EXPECT_EQ(schedule.at(4), 1);
  EXPECT_EQ(schedule.at(5), 0.1);
  EXPECT_TRUE(schedule.updates(5));
  EXPECT_FALSE(schedule.updates(6));
  EXPECT_EQ(schedule.exact(5), 0.1);
}

TEST(DensitySchedule, RefusesWhatHasNoMeaning) {
  const DensitySchedule good{{DensityShape::kCubic, 1, 0.1}, 5, 50, 5};
  EXPECT_NO_THROW(check_schedule(good, "test"));
  auto bad = good;
  bad.end = 4;
  EXPECT_THROW(check_schedule(bad, "test"), UserError);
  bad = good;
  bad.every = 0;
  EXPECT_THROW(check_schedule(bad, "test"), UserError);
  bad = good;
  bad.curve.to = 0;
  EXPECT_THROW(check_schedule(bad, "test"), UserError);
  bad = good;
  bad.curve.from = 0.05;
  EXPECT_THROW(check_schedule(bad, "test"), UserError);
  EXPECT_THROW(density_shape("option shape", "quartic"), UserError);
}

TEST(CosineRate, FallsFromHighToLow) {
  EXPECT_DOUBLE_EQ(cosine_rate(0, 100, 0.5, 0.1), 0.5);
  EXPECT_NEAR(cosine_rate(50, 100, 0.5, 0.1), 0.3, 1e-15);
  EXPECT_DOUBLE_EQ(cosine_rate(100, 100, 0.5, 0.1), 0.1);
  EXPECT_DOUBLE_EQ(cosine_rate(130, 100, 0.5, 0.1), 0.1);
}

}  // namespace
}  // namespace espalier
