// Beta-Rank's invariances, a patch that does not vary, groups, and what is refused. Golden files have the numbers.
#include "espalier/lab/criteria/beta_rank.h"

#include <gtest/gtest.h>

#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

const ConvWindow kWindow{{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}};

at::Tensor wave(std::vector<int64_t> shape, double step) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return at::sin(at::arange(count, at::kDouble) * step).view(shape);
}

BetaScores scores(const at::Tensor& x, const at::Tensor& w, int64_t groups = 1) {
  return beta_rank(x, at::conv2d(x, w, {}, {1, 1}, {1, 1}, {1, 1}, groups), w, kWindow, 1e-12, "layer");
}

TEST(BetaRank, DoesNotDependOnTheScaleOfTheInput) {
  const at::Tensor x = wave({4, 3, 5, 6}, 1.7), w = wave({5, 3, 3, 3}, 0.9);
  EXPECT_TRUE(at::allclose(scores(x, w).rank, scores(x * 37, w).rank, 1e-9));
}

TEST(BetaRank, GrowsWithTheSquareOfAFilter) {
  const at::Tensor x = wave({4, 3, 5, 6}, 1.7), w = wave({5, 3, 3, 3}, 0.9);
  at::Tensor scaled = w.clone();
  scaled.select(0, 2).mul_(3);
  const at::Tensor before = scores(x, w).raw, after = scores(x, scaled).raw;
  EXPECT_NEAR(after[2].item<double>(), 9 * before[2].item<double>(), 1e-9 * after[2].item<double>());
  EXPECT_TRUE(at::equal(after.narrow(0, 3, 2), before.narrow(0, 3, 2)));
}

// By the definition: one position, its patch cut out by hand.
TEST(BetaRank, LooksAtTheWholePatchWithItsPadding) {
  const at::Tensor x = wave({3, 2, 3, 3}, 0.7), w = wave({4, 2, 3, 3}, 1.3);
  const at::Tensor padded = at::constant_pad_nd(x, {1, 1, 1, 1}, 0), y = at::conv2d(x, w, {}, {1, 1}, {1, 1});
  at::Tensor sum = at::zeros({4}, at::kDouble);
  for (int64_t r = 0; r < 3; ++r)
    for (int64_t c = 0; c < 3; ++c)
      sum += y.select(3, c).select(2, r).std(0, false) / padded.narrow(2, r, 3).narrow(3, c, 3).std(false);
  EXPECT_TRUE(at::allclose(scores(x, w).raw, w.abs().mean({1, 2, 3}) * sum, 1e-9));
}

TEST(BetaRank, SkipsPositionsWithoutSpread) {
  at::Tensor x = wave({4, 2, 6, 6}, 1.1);
  x.narrow(2, 0, 5).narrow(3, 0, 5).fill_(0.3);  // 0.3 is no binary number: a difference of squares would not be 0
  const auto found = scores(x, wave({3, 2, 3, 3}, 0.4));
  EXPECT_EQ(found.positions_used, 36 - 9);  // the inner ones see no padding
}

TEST(BetaRank, TakesAGroupsOwnChannels) {
  const at::Tensor x = wave({4, 4, 5, 5}, 1.7), w = wave({6, 2, 3, 3}, 0.9);
  const auto whole = scores(x, w, 2);
  const auto first = scores(x.narrow(1, 0, 2), w.narrow(0, 0, 3)), second = scores(x.narrow(1, 2, 2), w.narrow(0, 3, 3));
  EXPECT_TRUE(at::allclose(whole.raw, at::cat({first.raw, second.raw}), 1e-9));
}

TEST(BetaRank, EqualFiltersRankZero) {
  const auto found = scores(wave({4, 3, 5, 5}, 1.7), at::ones({4, 3, 3, 3}, at::kDouble));
  EXPECT_TRUE(at::equal(found.rank, at::zeros({4}, at::kDouble)));
  EXPECT_EQ(highest_filters(found.rank, 2), (std::vector<int64_t>{2, 3}));  // of equals the higher index stays
}

TEST(BetaRank, RefusesWhatHasNoSpread) {
  const at::Tensor w = wave({2, 3, 3, 3}, 0.9);
  EXPECT_THROW(scores(wave({1, 3, 5, 5}, 1.7), w), UserError);
  try {
    beta_rank(at::zeros({4, 3, 5, 5}), at::zeros({4, 2, 5, 5}), w, kWindow, 1e-12, "features.3");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("features.3"), std::string::npos) << error.what();
  }
}

TEST(BetaRank, HRankCountsIndependentRows) {
  at::Tensor y = at::zeros({2, 3, 4, 4}, at::kDouble);
  y.select(1, 1).fill_(1);
  y.select(1, 2) += at::eye(4, at::kDouble);
  EXPECT_TRUE(at::equal(mean_map_rank(y), at::tensor(std::vector<double>{0, 1, 4}, at::kDouble)));
}

}  // namespace
}  // namespace espalier
