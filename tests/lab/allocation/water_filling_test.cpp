// Densities under budgets: the optimum's conditions, and what is refused.
#include "espalier/lab/allocation/water_filling.h"

#include <gtest/gtest.h>

#include "espalier/core/rng.h"
#include "espalier/lab/allocation/channel_widths.h"
#include "tests/support.h"

namespace espalier {
namespace {

LayerCosts random_costs(uint64_t seed) {
  Rng rng(seed, "costs");
  LayerCosts costs;
  for (int layer = 0; layer < 12; ++layer) {
    costs.params.push_back(100 + 10000 * rng.uniform());
    costs.flops.push_back(costs.params.back() * (1 + 100 * rng.uniform()));
  }
  return costs;
}

double sum(const std::vector<double>& values) { return weighted_sum(values, std::vector<double>(values.size(), 1.0)); }

TEST(WaterFilling, MeetsTheConditionsOfTheOptimum) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const LayerCosts costs = random_costs(seed);
    const CostBudget budget{0.4 * sum(costs.params), 0.38 * sum(costs.flops)};
    const auto filled = fill_densities(costs, budget);
    EXPECT_LE(weighted_sum(costs.params, filled.density), *budget.params * (1 + 1e-12));
    EXPECT_LE(weighted_sum(costs.flops, filled.density), *budget.flops * (1 + 1e-12));
    EXPECT_GT(filled.lambda + filled.mu, 0);
    if (filled.lambda > 0) {
      EXPECT_NEAR(weighted_sum(costs.params, filled.density) / *budget.params, 1, 1e-9);
    }
    if (filled.mu > 0) {
      EXPECT_NEAR(weighted_sum(costs.flops, filled.density) / *budget.flops, 1, 1e-9);
    }
    for (size_t l = 0; l < filled.density.size(); ++l) {
      const double price = filled.lambda * costs.params[l] + filled.mu * costs.flops[l];
      if (filled.density[l] < 1) {
        EXPECT_NEAR(filled.density[l] * price, 1, 1e-9);
      } else {
        EXPECT_LE(price, 1 + 1e-9);
      }
    }
  }
}

TEST(WaterFilling, OneBudgetGivesEveryCroppedLayerEquallyManyParameters) {
  const LayerCosts costs = random_costs(3);
  const auto filled = fill_densities(costs, {0.3 * sum(costs.params), std::nullopt});
  for (size_t l = 0; l < filled.density.size(); ++l) {
    if (filled.density[l] < 1) {
      EXPECT_NEAR(filled.density[l] * costs.params[l], 1 / filled.lambda, 1e-6);
    }
  }
}

TEST(WaterFilling, LooseBudgetsLeaveEverything) {
  const LayerCosts costs = random_costs(4);
  for (double density : fill_densities(costs, {2 * sum(costs.params), 2 * sum(costs.flops)}).density) EXPECT_EQ(density, 1);
  for (double density : fill_densities(costs, {}).density) EXPECT_EQ(density, 1);
}

TEST(WaterFilling, RefusesNonsense) {
  EXPECT_THROW(fill_densities({{1, 2}, {1}}, {1.0, std::nullopt}), UserError);
  EXPECT_THROW(fill_densities({{1, -2}, {1, 1}}, {1.0, std::nullopt}), UserError);
  EXPECT_THROW(fill_densities({{1, 2}, {1, 1}}, {0.0, std::nullopt}), UserError);
  EXPECT_THROW(width_factor({0.5, -0.1}), UserError);
  EXPECT_THROW(width_factor({std::numeric_limits<double>::quiet_NaN()}), UserError);
}

TEST(ChannelWidths, RoundHalfUpAndKeepOne) {
  EXPECT_EQ(scaled_width(16, 0.5), 8);
  EXPECT_EQ(scaled_width(5, 0.5), 3);
  EXPECT_EQ(scaled_width(16, 0.001), 1);
  EXPECT_EQ(scaled_width(16, 3), 16);
  EXPECT_EQ(scaled_width(16, 0.6, 8), 8);
  EXPECT_EQ(scaled_width(16, 0.1, 8), 8);
  EXPECT_EQ(scaled_width(5, 0.1, 8), 5);
  EXPECT_DOUBLE_EQ(width_factor({0.25}), 0.5);
  EXPECT_DOUBLE_EQ(width_factor({0.25, 0.01}), std::sqrt(0.05));
  EXPECT_EQ(width_factor({}), 1);
}

}  // namespace
}  // namespace espalier
