// The arms of S2-Attention's reproduction, trained for a few steps.
#include "espalier/lab/methods/policies/s2_arms.h"

#include <gtest/gtest.h>

#include <cmath>

namespace espalier {
namespace {

using Options = std::map<std::string, std::string>;

Options shards(const char* homogeneous) { return {{"block", "4"}, {"local_blocks", "1"}, {"vert_stride", "4"}, {"dense_period", "0"}, {"homogeneous", homogeneous}}; }

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value / static_cast<double>(values.size());
  return sum;
}

CopyBudget budget(int64_t steps) {
  CopyBudget b;
  b.length = 32, b.batch = 16, b.steps = steps, b.held_out = 24;
  return b;
}

TEST(S2Arms, StartAtChanceAlike) {
  CopyBudget b = budget(1);
  b.learning_rate = 1e-9;
  const CopyArm dense = train_to_copy({}, b, 0), sparse = train_to_copy(shards("0"), b, 0);
  ASSERT_EQ(dense.nats.size(), 24u);
  EXPECT_NEAR(mean(dense.nats), std::log(256.0), 1.0);
  EXPECT_NEAR(mean(dense.nats), mean(sparse.nats), 0.5);
  EXPECT_EQ(dense.seen, 1.0);
}

// Head g sees from block i itself and the blocks j < i with (j + g) mod 4 = 0; equal shards are those of head 0.
TEST(S2Arms, SeeWhatTheirPatternSays) {
  const auto seen = [](bool equal) {
    double pairs = 0;
    for (int g = 0; g < 4; ++g)
      for (int i = 0; i < 31; ++i)
        for (int j = 0; j <= i; ++j) pairs += i / 4 == j / 4 || (j / 4 + (equal ? 0 : g)) % 4 == 0;
    return pairs / (4 * 31 * 32 / 2);
  };
  EXPECT_NEAR(train_to_copy(shards("0"), budget(1), 0).seen, seen(false), 1e-9);
  EXPECT_NEAR(train_to_copy(shards("1"), budget(1), 0).seen, seen(true), 1e-9);
}

// Of blocks that no head sees, nothing is copied.
TEST(S2Arms, LearnToCopyWhatTheySee) {
  const CopyArm dense = train_to_copy({}, budget(120), 0), equal = train_to_copy(shards("1"), budget(120), 0);
  EXPECT_LT(mean(dense.nats), mean(equal.nats) - 2);
  EXPECT_GT(dense.right, 0.5);
  EXPECT_LT(equal.right, 0.25);
}

TEST(S2Arms, TheSameSeedGivesTheSame) {
  EXPECT_EQ(train_to_copy(shards("0"), budget(2), 3).nats, train_to_copy(shards("0"), budget(2), 3).nats);
  EXPECT_NE(train_to_copy(shards("0"), budget(2), 3).nats, train_to_copy(shards("0"), budget(2), 4).nats);
}

}  // namespace
}  // namespace espalier
