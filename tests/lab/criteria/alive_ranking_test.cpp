#include "espalier/lab/criteria/alive_ranking.h"

#include "espalier/lab/torch.h"
#include "tests/lab/criteria/small_tensors.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::flags, test::numbers;

TEST(AliveRanking, RemovesTheLowestOfAllTensorsTogether) {
  const LayerTensors scores{numbers({3, 0, 1, 2}), numbers({1, 5, 0, 1})};
  const LayerTensors masks{flags({1, 0, 1, 1}), flags({1, 1, 0, 1})};  // the dead zeros do not count
  remove_lowest(scores, masks, 2, "test");
  EXPECT_TRUE(at::equal(masks[0], flags({1, 0, 0, 1})));
  EXPECT_TRUE(at::equal(masks[1], flags({0, 1, 0, 1})));  // of the equal ones the earlier
  EXPECT_EQ(alive_count(masks), 4);
}

TEST(AliveRanking, TakesFewerWhenThereAreNotEnoughCandidates) {
  const LayerTensors scores{numbers({3, 0, 1, 2})}, masks{flags({1, 0, 1, 1})};
  EXPECT_EQ(remove_lowest_of(scores, masks, {flags({1, 1, 0, 0})}, 3, "test"), 1);
  EXPECT_TRUE(at::equal(masks[0], flags({0, 0, 1, 1})));
}

TEST(AliveRanking, GrowsTheHighestOfTheDead) {
  const at::Tensor mask = flags({0, 1, 0, 0, 0});
  const at::Tensor grown = grow_highest(numbers({1, 9, 2, 2, 0}), mask, 2, "test");
  EXPECT_TRUE(at::equal(grown, flags({0, 0, 1, 1, 0})));
  EXPECT_TRUE(at::equal(mask, flags({0, 1, 1, 1, 0})));
  grow_highest(numbers({0, 0, 0, 0, 0}), mask, 1, "test");
  EXPECT_TRUE(at::equal(mask, flags({1, 1, 1, 1, 0})));  // all equal: the lower position
  EXPECT_EQ(grow_highest(numbers({0, 0, 0, 0, 0}), mask, 7, "test").sum().item<int64_t>(), 1);
}

TEST(AliveRanking, EqualsAStableSortWithTies) {
  at::manual_seed(1);
  const at::Tensor scores = (at::randn({2000}) * 4).round().abs(), alive = at::rand({2000}) < 0.6;
  for (const int64_t k : {0, 1, 333, 900}) {
    const at::Tensor mask = alive.clone();
    remove_lowest({scores}, {mask}, k, "test");
    const auto order = std::get<1>(at::sort(scores.masked_fill(alive.logical_not(), 1e9), true, 0, false));
    EXPECT_TRUE(at::equal(mask, alive.index_fill(0, order.slice(0, 0, k), false))) << k;
  }
}

TEST(AliveRanking, NamesATensorWithAScoreThatIsNoNumber) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const LayerTensors scores{numbers({1, 2}), numbers({nan, 2})};
  EXPECT_NO_THROW(remove_lowest(scores, {flags({1, 1}), flags({0, 1})}, 1, "test"));  // dead
  EXPECT_THROW(remove_lowest(scores, {flags({1, 1}), flags({1, 1})}, 1, "test"), UserError);
}

TEST(AliveRanking, CountsSharesUpwards) {
  EXPECT_EQ(share_of(0.2, 62), 13);
  EXPECT_EQ(share_of(0.2, 5), 1);
  EXPECT_EQ(share_of(0.2, 1), 1);
  EXPECT_EQ(share_of(0.2, 0), 0);
  EXPECT_EQ(share_of(0.3, 10), 3);  // 0.3 · 10 is above 3 in binary
}

TEST(AliveRanking, DrawsExactlyAsManyAsAsked) {
  Rng one(1, "masks"), again(1, "masks"), other(2, "masks");
  const at::Tensor mask = random_keep({20, 30}, 137, one);
  EXPECT_EQ(mask.sum().item<int64_t>(), 137);
  EXPECT_TRUE(at::equal(mask, random_keep({20, 30}, 137, again)));
  EXPECT_FALSE(at::equal(mask, random_keep({20, 30}, 137, other)));
}

}  // namespace
}  // namespace espalier
