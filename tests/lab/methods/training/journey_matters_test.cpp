#include "espalier/lab/methods/training/journey_matters.h"

#include <gtest/gtest.h>

#include "tests/support.h"

namespace espalier {
namespace {

// The model cards of the paper's 1.2 B models with 20 % and 40 %: average densities 0.8919 and 0.7651; 40 %: dense until
// step 2500, sparse from 8875 of 13050.
TEST(JourneyMatters, AgreesWithThePublishedModels) {
  EXPECT_NEAR(journey_phases(0.2, 0.25, 0.75, DensityShape::kGeometric).average_density, 0.8919, 0.0015);
  EXPECT_NEAR(journey_phases(0.4, 0.25, 0.75, DensityShape::kGeometric).average_density, 0.7651, 0.0015);
  const JourneyPlan plan = plan_journey(10000, 0.4, 0.25, 0.75, DensityShape::kGeometric);
  EXPECT_EQ(plan.schedule.start, 2500);
  EXPECT_NEAR(plan.schedule.end, 8875, 15);
  EXPECT_NEAR(plan.steps, 13050, 40);
}

TEST(JourneyMatters, SpendsTheBudget) {
  for (DensityShape shape : {DensityShape::kGeometric, DensityShape::kLinear, DensityShape::kCubic})
    for (double sparsity : {0.2, 0.6, 0.8})
      for (auto [start, end] : {std::pair(0.25, 0.75), {0.0, 0.25}, {0.1, 0.9}}) {
        const JourneyPlan plan = plan_journey(400, sparsity, start, end, shape);
        double spent = 0;
        for (int64_t step = 0; step < plan.steps; ++step) spent += plan.schedule.at(step);
        EXPECT_NEAR(spent, 400, 0.5);
        EXPECT_EQ(plan.schedule.at(plan.steps - 1), 1 - sparsity);
      }
}

TEST(JourneyMatters, NothingRemovedIsADenseTraining) {
  const JourneyPlan plan = plan_journey(300, 0, 0.25, 0.75, DensityShape::kGeometric);
  EXPECT_EQ(plan.steps, 300);
  EXPECT_EQ(average_density(plan.schedule, plan.steps), 1);
}

// The mean of the curve by a fine sum.
TEST(JourneyMatters, AverageDensityIsTheIntegral) {
  const DensitySchedule schedule{{DensityShape::kGeometric, 1, 0.3}, 100, 700, 1};
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const double step = (i + 0.5) * 1e-2;
    sum += step < 100 ? 1 : schedule.exact(step);
  }
  EXPECT_NEAR(average_density(schedule, 1000), sum / 100000, 1e-5);
}

TEST(JourneyMatters, AMatchedPair) {
  const MatchedPair pair = matched_pair(1e6, 0.6, 0.64);
  EXPECT_DOUBLE_EQ(pair.matched_params, 6.4e5);
  EXPECT_DOUBLE_EQ(pair.final_params, 4e5);
  EXPECT_DOUBLE_EQ(pair.saving, 0.375);
}

TEST(JourneyMatters, MistakesAreNamed) {
  ESP_EXPECT_USER_ERROR(journey_phases(1, 0.25, 0.75, DensityShape::kLinear), "sparsity");
  ESP_EXPECT_USER_ERROR(journey_phases(0.5, 0.75, 0.75, DensityShape::kLinear), "0 <= start < end <= 1");
  ESP_EXPECT_USER_ERROR(plan_journey(0, 0.5, 0.25, 0.75, DensityShape::kLinear), "budget");
}

}  // namespace
}  // namespace espalier
