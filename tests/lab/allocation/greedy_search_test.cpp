#include "espalier/lab/allocation/greedy_search.h"

#include <algorithm>
#include <cmath>

#include "tests/support.h"

namespace espalier {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Pairwise interactions, so that the best next removal depends on the earlier ones.
double toy(const std::vector<int>& removed, double) {
  double sum = 0;
  for (int a : removed) {
    sum += 1 + (a * 7) % 5;
    for (int b : removed) sum += a < b ? std::cos(a * 3.0 + b) : 0;
  }
  return std::fabs(sum);
}

// Greedy by definition: all candidates measured, the first minimum taken.
std::vector<int> brute_force(int candidates, int remove) {
  std::vector<int> removed;
  while (std::ssize(removed) < remove) {
    std::vector<double> distances;
    for (int c = 0; c < candidates; ++c) {
      auto trial = removed;
      trial.push_back(c);
      const bool taken = std::count(removed.begin(), removed.end(), c) > 0;
      distances.push_back(taken ? kInfinity : toy(trial, 0));
    }
    removed.push_back(static_cast<int>(std::min_element(distances.begin(), distances.end()) - distances.begin()));
  }
  return removed;
}

GreedyOptions remove_only(int count) {
  GreedyOptions options;
  options.budget.remove = count;
  return options;
}

TEST(GreedySearch, EqualsBruteForce) {
  const auto found = greedy_search(8, remove_only(8), toy);
  EXPECT_EQ(found.removed, brute_force(8, 8));
  EXPECT_EQ(found.evaluations, 8 + 7 + 6 + 5 + 4 + 3 + 2 + 1);
  for (int k = 1; k <= 8; ++k) {
    const std::vector<int> prefix(found.removed.begin(), found.removed.begin() + k);
    EXPECT_DOUBLE_EQ(found.distance[k - 1], toy(prefix, 0));
  }
}

TEST(GreedySearch, AbandoningCandidatesChangesNothing) {
  int abandoned = 0;
  const auto lazy = [&](const std::vector<int>& removed, double above) {
    const double exact = toy(removed, above);
    if (exact <= above) return exact;
    ++abandoned;
    return kInfinity;
  };
  const auto eager = greedy_search(8, remove_only(6), toy), early = greedy_search(8, remove_only(6), lazy);
  EXPECT_EQ(eager.removed, early.removed);
  EXPECT_EQ(eager.distance, early.distance);
  EXPECT_GT(abandoned, 0);
}

TEST(GreedySearch, FirstScannedWinsTiesAndNanLoses) {
  const auto found = greedy_search(4, remove_only(3), [](const std::vector<int>& removed, double) {
    return removed.back() == 0 ? std::nan("") : 1.0;
  });
  EXPECT_EQ(found.removed, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(found.nan_distances, 3);
  const auto all_nan = greedy_search(2, remove_only(1), [](const auto&, double) { return std::nan(""); });
  EXPECT_EQ(all_nan.removed, (std::vector<int>{0}));
  EXPECT_EQ(all_nan.distance[0], kInfinity);
}

TEST(GreedySearch, ProtectedFrontReturnsAfterEnoughRemovalsOrWhenNothingElseIsLeft) {
  const auto lowest_first = [](const std::vector<int>& removed, double) { return static_cast<double>(removed.back()); };
  auto options = remove_only(5);
  options.front = {3, 2};
  EXPECT_EQ(greedy_search(6, options, lowest_first).removed, (std::vector<int>{3, 4, 0, 1, 2}));
  options.front = {4, 100};
  EXPECT_EQ(greedy_search(6, options, lowest_first).removed, (std::vector<int>{4, 5, 0, 1, 2}));
}

TEST(GreedySearch, FrontOfAShareOfTheBlocks) {
  const auto front = protect_front(0.4, 16, 2);
  EXPECT_EQ(front.excluded, 14);       // floor(6.4) + 1 blocks of two
  EXPECT_EQ(front.returns_after, 13);  // int(12.8) + 1
  EXPECT_EQ(protect_front(0, 16, 2).excluded, 0);
  EXPECT_EQ(protect_front(0.99, 4, 1).excluded, 4);
  ESP_EXPECT_USER_ERROR(protect_front(1, 4, 2), "protect-front: expected a number in [0, 1), found 1");
}

TEST(GreedySearch, StopsAtTheMaximalDistance) {
  auto options = remove_only(4);
  options.budget.max_distance = 2.5;
  const auto found =
      greedy_search(5, options, [](const std::vector<int>& r, double) { return static_cast<double>(r.size()); });
  EXPECT_EQ(found.removed.size(), 2u);
  EXPECT_TRUE(found.stopped_by_distance);
}

TEST(GreedySearch, ContinuesWhereItWasInterrupted) {
  const auto whole = greedy_search(8, remove_only(6), toy);
  Removals saved;
  auto first = remove_only(3);
  first.on_step = [&](const Removals& state) { saved = state; };
  greedy_search(8, first, toy);
  auto second = remove_only(6);
  second.start = saved;
  const auto resumed = greedy_search(8, second, toy);
  EXPECT_EQ(resumed.removed, whole.removed);
  EXPECT_EQ(resumed.distance, whole.distance);
  EXPECT_EQ(resumed.evaluations, whole.evaluations);
}

TEST(GreedySearch, TooManyRemovalsAreTheUsersError) {
  ESP_EXPECT_USER_ERROR(greedy_search(4, remove_only(5), toy), "remove: expected 0 to 4 candidates, found 5");
  ESP_EXPECT_USER_ERROR(one_shot_search(4, {4, {}}, {2}, toy), "at most 2 candidates outside the protected front");
}

TEST(OneShotSearch, TakesTheLowestSingleDistances) {
  const std::vector<double> each = {3, 1, std::nan(""), 1, 0};
  const auto found = one_shot_search(5, {4, {}}, {}, [&](const auto& removed, double) { return each[removed[0]]; });
  EXPECT_EQ(found.result.removed, (std::vector<int>{4, 1, 3, 0}));
  EXPECT_EQ(found.result.evaluations, 5);
  EXPECT_EQ(found.result.nan_distances, 1);
}

TEST(FollowOrder, MeasuresEveryPrefixOfALoadedRanking) {
  const auto found = follow_order(5, {4, 0, 2}, {3, {}}, toy);
  EXPECT_EQ(found.removed, (std::vector<int>{4, 0, 2}));
  EXPECT_DOUBLE_EQ(found.distance[1], toy({4, 0}, 0));
  ESP_EXPECT_USER_ERROR(follow_order(5, {4, 4}, {2, {}}, toy), "found 4 at place 1");
  ESP_EXPECT_USER_ERROR(follow_order(5, {5}, {1, {}}, toy), "found 5 at place 0");
  ESP_EXPECT_USER_ERROR(follow_order(5, {1}, {2, {}}, toy), "remove");
}

TEST(RandomOrder, IsAPermutationByTheSeed) {
  auto order = random_order(20, {}, 3);
  EXPECT_EQ(order, random_order(20, {}, 3));
  EXPECT_NE(order, random_order(20, {}, 4));
  std::sort(order.begin(), order.end());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(order[i], i);
  for (int c : random_order(20, {5}, 1)) EXPECT_GE(c, 5);
}

}  // namespace
}  // namespace espalier
