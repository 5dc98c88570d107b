#include "espalier/lab/allocation/erk.h"

#include <gtest/gtest.h>

#include "tests/support.h"

namespace espalier {
namespace {

// Quotients of sum and product of the sizes: 4/4 and 8/16, so 4 f + 8 f weights stay.
const std::vector<Shape> kTwo{{2, 2}, {4, 4}};

TEST(Erk, SharesTheBudgetByTheQuotientOfSumAndProduct) {
  const auto densities = erk_densities(kTwo, 0.3);  // 6 of 20 weights: f = 1/2
  EXPECT_DOUBLE_EQ(densities[0], 0.5);
  EXPECT_DOUBLE_EQ(densities[1], 0.25);
}

TEST(Erk, MakesASmallLayerDenseAndGivesTheOthersTheRest) {
  const auto densities = erk_densities(kTwo, 0.75);  // 15 of 20: f = 5/4, so 4 and then 11 of 16
  EXPECT_DOUBLE_EQ(densities[0], 1);
  EXPECT_DOUBLE_EQ(densities[1], 11.0 / 16);
}

TEST(Erk, MakesEqualLayersDenseTogether) {
  const auto densities = erk_densities({{2, 2}, {2, 2}, {8, 8}}, 0.5);  // 36 of 72: f = 2.25 for 1, 1, 1/4
  EXPECT_DOUBLE_EQ(densities[0], 1);
  EXPECT_DOUBLE_EQ(densities[1], 1);
  EXPECT_DOUBLE_EQ(densities[2], 28.0 / 64);
}

TEST(Erk, KeepsTheOverallDensity) {
  const std::vector<Shape> shapes{{16, 3, 3, 3}, {32, 16, 3, 3}, {0, 7}, {64, 32, 1, 1}, {10, 64}, {1, 1}};
  for (const double density : {0.01, 0.05, 0.2, 0.5, 0.9, 1.0}) {
    const auto densities = erk_densities(shapes, density);
    double kept = 0, total = 0;
    for (size_t l = 0; l < shapes.size(); ++l) {
      EXPECT_GT(densities[l], 0);
      EXPECT_LE(densities[l], 1);
      kept += densities[l] * static_cast<double>(element_count(shapes[l]));
      total += static_cast<double>(element_count(shapes[l]));
    }
    EXPECT_NEAR(kept, density * total, 1e-9 * total) << density;
  }
}

TEST(Erk, RefusesWhatHasNoMeaning) {
  EXPECT_THROW(erk_densities({}, 0.5), UserError);
  EXPECT_THROW(erk_densities({{0, 3}}, 0.5), UserError);
  EXPECT_THROW(erk_densities(kTwo, 0), UserError);
  EXPECT_THROW(erk_densities(kTwo, 1.1), UserError);
}

}  // namespace
}  // namespace espalier
