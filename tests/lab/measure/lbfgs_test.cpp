#include "espalier/lab/measure/lbfgs.h"

#include <gtest/gtest.h>

#include <cmath>

namespace espalier {
namespace {

TEST(Lbfgs, FindsTheBottomOfRosenbrocksValley) {
  const Differentiable rosenbrock = [](const std::vector<double>& x, std::vector<double>& g) {
    const double a = 1 - x[0], b = x[1] - x[0] * x[0];
    g[0] = -2 * a - 400 * x[0] * b;
    g[1] = 200 * b;
    return a * a + 100 * b * b;
  };
  const Minimum found = minimise(rosenbrock, {-1.2, 1});
  EXPECT_NEAR(found.x[0], 1, 1e-6);
  EXPECT_NEAR(found.x[1], 1, 1e-6);
  EXPECT_LT(found.steps, 100);
}

TEST(Lbfgs, NarrowBowlsTakeDozensOfSteps) {
  const Differentiable bowl = [](const std::vector<double>& x, std::vector<double>& g) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double weight = std::pow(10.0, static_cast<double>(i) - 2), off = x[i] - static_cast<double>(i);
      g[i] = 2 * weight * off;
      sum += weight * off * off;
    }
    return sum;
  };
  const Minimum found = minimise(bowl, std::vector<double>(6, 7.0));
  for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(found.x[i], static_cast<double>(i), 1e-4);
  EXPECT_LT(found.steps, 150);  // curvatures from 0.01 to 1000
}

// |x| + 2 |y - 1|: Newton-like steps alone would circle around the kink.
TEST(Lbfgs, EndsAtKinks) {
  const Differentiable kinks = [](const std::vector<double>& x, std::vector<double>& g) {
    g = {x[0] > 0 ? 1.0 : -1.0, x[1] > 1 ? 2.0 : -2.0};
    return std::abs(x[0]) + 2 * std::abs(x[1] - 1);
  };
  EXPECT_LT(minimise(kinks, {3.3, -2.1}).value, 1e-3);
}

TEST(Lbfgs, StopsWhereItIsTold) {
  const Differentiable slope = [](const std::vector<double>& x, std::vector<double>& g) {
    g[0] = -std::exp(-x[0]);
    return std::exp(-x[0]);
  };
  EXPECT_EQ(minimise(slope, {0}, {.steps = 3}).steps, 3);
}

}  // namespace
}  // namespace espalier
