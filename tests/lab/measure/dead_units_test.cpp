#include "espalier/lab/measure/dead_units.h"

#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

at::Tensor flags(const std::vector<int>& values) { return at::tensor(values, at::kInt).to(at::kBool); }

TEST(DeadUnits, CountsUnitsAndWhatFeedsThem) {
  const at::Tensor before = at::tensor({1.0, 0.0, -1.0, 2.0, -3.0, -1.0}).view({2, 3});
  const DeadUnits count = count_dead(before, flags({1, 1, 0}));
  EXPECT_EQ(count.samples, 2);
  EXPECT_EQ(count.units, 3);
  EXPECT_EQ(count.dead, 4);  // 0 is dead, too
  EXPECT_EQ(count.dead_unfed, 2);
  EXPECT_DOUBLE_EQ(count.share(), 4.0 / 6);
  EXPECT_TRUE(at::equal(count.channel_dead, at::tensor({0, 2, 2}, at::kLong)));
}

TEST(DeadUnits, AUnitThatABiasWakesIsNotDead) {
  const DeadUnits count = count_dead(at::tensor({0.4, 0.4}).view({2, 1}), flags({0}));
  EXPECT_EQ(count.dead_unfed, 0);
  EXPECT_EQ(count.dead, 0);
}

TEST(DeadUnits, EveryPositionOfAMapIsAUnit) {
  at::manual_seed(1);
  const at::Tensor before = at::randn({5, 4, 3, 3});
  const DeadUnits count = count_dead(before, flags({1, 1, 1, 1}));
  EXPECT_EQ(count.units, 36);
  EXPECT_EQ(count.dead, (before <= 0).sum().item<int64_t>());
  EXPECT_NEAR(count.channel_share()[2].item<double>(), (before.select(1, 2) <= 0).sum().item<double>() / 45, 1e-12);
}

TEST(DeadUnits, BatchesAddUpAndLayersShareOneDenominator) {
  at::manual_seed(2);
  const at::Tensor one = at::randn({8, 6}), two = at::randn({8, 2});
  DeadUnits sum;
  sum.add(count_dead(one.slice(0, 0, 3), flags({1, 1, 1, 0, 1, 1})));
  sum.add(count_dead(one.slice(0, 3), flags({1, 1, 1, 0, 1, 1})));
  const DeadUnits whole = count_dead(one, flags({1, 1, 1, 0, 1, 1})), other = count_dead(two, flags({1, 1}));
  EXPECT_EQ(sum.dead, whole.dead);
  EXPECT_TRUE(at::equal(sum.channel_dead, whole.channel_dead));
  const DeadRate rate = dead_rate(std::vector{whole, other});
  EXPECT_DOUBLE_EQ(rate.total, static_cast<double>(whole.dead + other.dead) / 64);
  EXPECT_DOUBLE_EQ(rate.unfed, static_cast<double>(whole.dead_unfed) / 64);
  EXPECT_DOUBLE_EQ(rate.unfed + rate.dynamic, rate.total);
  EXPECT_EQ(rate.layers.size(), 2u);
  EXPECT_EQ(dead_rate({}).total, 0);
}

}  // namespace
}  // namespace espalier
