#include "espalier/lab/measure/scaling_law.h"

#include <gtest/gtest.h>

#include <cmath>

#include "espalier/core/rng.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::vector<ScalingPoint> points_of(const ScalingLaw& law, double noise) {
  Rng rng(1, "points");
  std::vector<ScalingPoint> points;
  for (double n : {1e6, 3e6, 1e7, 4e7})
    for (double d : {2e7, 1e8, 8e8, 4e9}) points.push_back({n, d, law.loss(n, d) * std::exp(noise * rng.normal())});
  return points;
}

TEST(ScalingLaw, IsTheSumOfItsTerms) {
  const ScalingLaw law{std::log(400.0), std::log(300.0), std::log(1.5), 0.3, 0.25};
  EXPECT_NEAR(law.loss(1e6, 1e8), 1.5 + 400 / std::pow(1e6, 0.3) + 300 / std::pow(1e8, 0.25), 1e-12);
  EXPECT_NEAR(law.log_loss(1e6, 1e8), std::log(law.loss(1e6, 1e8)), 1e-14);
}

TEST(ScalingLaw, HuberIsQuadraticInsideAndLinearOutside) {
  const ScalingLaw flat{-100, -100, 0, 0.3, 0.3};  // loss 1
  EXPECT_NEAR(scaling_objective(flat, {{1, 1, std::exp(5e-4)}}, 1e-3), 0.5 * 25e-8, 1e-18);
  EXPECT_NEAR(scaling_objective(flat, {{1, 1, std::exp(-0.2)}}, 1e-3), 1e-3 * (0.2 - 5e-4), 1e-15);
}

TEST(ScalingLaw, FitFindsWhatMadeTheNumbers) {
  const ScalingLaw law{6.4, 5.2, std::log(1.9), 0.41, 0.29};
  const ScalingFit fit = fit_scaling_law(points_of(law, 0));
  EXPECT_NEAR(fit.law.log_a, law.log_a, 0.05);
  EXPECT_NEAR(fit.law.log_b, law.log_b, 0.05);
  EXPECT_NEAR(std::exp(fit.law.log_e), 1.9, 0.01);
  EXPECT_NEAR(fit.law.alpha, law.alpha, 0.004);
  EXPECT_NEAR(fit.law.beta, law.beta, 0.003);
  EXPECT_LT(fit.largest_error, 1e-3);
}

// One wild measurement moves Huber's fit little.
TEST(ScalingLaw, FitBearsAnOutlier) {
  const ScalingLaw law{6.4, 5.2, std::log(1.9), 0.41, 0.29};
  auto points = points_of(law, 1e-4);
  points[5].loss *= 1.3;
  const ScalingFit fit = fit_scaling_law(points);
  EXPECT_NEAR(fit.law.loss(2e6, 3e8) / law.loss(2e6, 3e8), 1, 0.005);
  EXPECT_NEAR(fit.largest_error, 1 - 1 / 1.3, 0.02);
}

TEST(ScalingLaw, MistakesAreNamed) {
  auto points = points_of({6.4, 5.2, std::log(1.9), 0.41, 0.29}, 0);
  points.resize(5);
  ESP_EXPECT_USER_ERROR(fit_scaling_law(points), "at least 6");
  points.push_back({1e6, 1e8, NAN});
  ESP_EXPECT_USER_ERROR(fit_scaling_law(points), "loss");
}

}  // namespace
}  // namespace espalier
