#include "espalier/lab/methods/training/granet_schedule.h"

#include <gtest/gtest.h>

#include "tests/support.h"

namespace espalier {
namespace {

TEST(GraNetSchedule, PrunesInUnitsAndFinishes) {
  const GraNetSchedule schedule{.interval = 10, .t0 = 0, .t1 = 40, .initial_sparsity = 0.5, .final_sparsity = 0.9};
  EXPECT_DOUBLE_EQ(schedule.prune_to(0).value(), 0.5);
  EXPECT_DOUBLE_EQ(schedule.prune_to(20).value(), 0.9 - 0.4 / 8);
  EXPECT_FALSE(schedule.prune_to(25).has_value());
  EXPECT_DOUBLE_EQ(schedule.prune_to(40).value(), 0.9);
  EXPECT_FALSE(schedule.prune_to(50).has_value());
  EXPECT_EQ(schedule.last_prune(), 40);
}

TEST(GraNetSchedule, EndsShortLikeTheReleasedCode) {
  GraNetSchedule schedule{.interval = 10, .t0 = 0, .t1 = 40, .initial_sparsity = 0.5, .final_sparsity = 0.9};
  schedule.finish_exactly = false;
  EXPECT_DOUBLE_EQ(schedule.prune_to(30).value(), 0.9 - 0.4 / 64);
  EXPECT_FALSE(schedule.prune_to(40).has_value());
  EXPECT_EQ(schedule.last_prune(), 30);
}

TEST(GraNetSchedule, DoesNothingBeforeT0AndFinishesAWindowInsideAUnit) {
  const GraNetSchedule schedule{.interval = 100, .t0 = 310, .t1 = 390, .initial_sparsity = 0, .final_sparsity = 0.8};
  EXPECT_FALSE(schedule.prune_to(300).has_value());
  EXPECT_DOUBLE_EQ(schedule.prune_to(400).value(), 0.8);
  EXPECT_FALSE(schedule.prune_to(500).has_value());
}

TEST(GraNetSchedule, NeverRises) {
  const GraNetSchedule schedule{.interval = 7, .t0 = 10, .t1 = 100, .initial_sparsity = 0.3, .final_sparsity = 0.95};
  double before = 0;
  for (int64_t step = 0; step < 200; ++step) {
    const double sparsity = schedule.prune_to(step).value_or(before);
    EXPECT_GE(sparsity, before);
    before = sparsity;
  }
  EXPECT_EQ(before, 0.95);
}

TEST(GraNetSchedule, KeepsCountsExact) {
  EXPECT_EQ(granet_kept(0.9, 1000), 100);
  EXPECT_EQ(granet_kept(0.55, 78), 35);
}

TEST(GraNetSchedule, RefusesWhatHasNoMeaning) {
  const GraNetSchedule good{.interval = 10, .t0 = 0, .t1 = 40, .initial_sparsity = 0.5, .final_sparsity = 0.9};
  EXPECT_NO_THROW(check_granet_schedule(good));
  const auto refused = [&](auto change) {
    GraNetSchedule bad = good;
    change(bad);
    EXPECT_THROW(check_granet_schedule(bad), UserError);
  };
  refused([](auto& s) { s.interval = 0; });
  refused([](auto& s) { s.t0 = -1; });
  refused([](auto& s) { s.t1 = 0; });
  refused([](auto& s) { s.final_sparsity = 0.4; });
  refused([](auto& s) { s.final_sparsity = 1; });
  refused([](auto& s) { s.initial_sparsity = -0.1; });
}

}  // namespace
}  // namespace espalier
