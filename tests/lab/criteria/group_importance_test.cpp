// Scores of sets by hand; SPA's golden file has more.
#include "espalier/lab/criteria/group_importance.h"

#include <gtest/gtest.h>

#include <limits>

#include "espalier/lab/torch.h"
#include "tests/structure/test_networks.h"
#include "tests/support.h"

namespace espalier::group_importance_test {
namespace {

using Doubles = std::vector<double>;

// One group of two sets with the members a [2, 2] axis 0 and b [2] axis 0.
Coupling two_sets() {
  Coupling coupling;
  CouplingGroup group;
  group.set_count = 2;
  group.canonical = {0, 1};
  group.members = {{"a", 0, {0, 1}, ""}, {"b", 0, {0, 1}, ""}};
  coupling.groups = {group};
  return coupling;
}

at::Tensor score_of(const std::string& name) {
  return name == "a" ? at::tensor(Doubles{1, 2, 3, 5}, at::kDouble).view({2, 2})
                     : at::tensor(Doubles{4, 2}, at::kDouble);
}

SetScores scores(const char* aggregation, const char* normaliser) {
  return group_importance(two_sets(), score_of, parse_aggregation(aggregation), parse_group_normaliser(normaliser));
}

TEST(GroupImportance, AggregatesSlices) {
  EXPECT_EQ(scores("sum", "none").raw, (Doubles{7, 10}));
  EXPECT_EQ(scores("mean", "none").raw, (Doubles{3.5, 5}));
  EXPECT_EQ(scores("max", "none").raw, (Doubles{4, 8}));
  EXPECT_EQ(scores("prod", "none").raw, (Doubles{12, 16}));
}

TEST(GroupImportance, NormalisesInsideAGroup) {
  EXPECT_EQ(scores("sum", "mean").normalised, (Doubles{7 / 8.5, 10 / 8.5}));
  EXPECT_EQ(scores("sum", "max").normalised, (Doubles{0.7, 1}));
  EXPECT_EQ(scores("sum", "sum").normalised, (Doubles{7.0 / 17, 10.0 / 17}));
  const auto zero = group_importance(
      two_sets(), [](const std::string& name) { return at::zeros_like(score_of(name)); }, Aggregation::kSum,
      GroupNormaliser::kMean);
  EXPECT_EQ(zero.normalised, (Doubles{0, 0}));
}

TEST(GroupImportance, LeavesOutWhatHasNoScores) {
  const auto only_b = group_importance(
      two_sets(), [](const std::string& name) { return name == "a" ? at::Tensor() : score_of(name); },
      Aggregation::kMean, GroupNormaliser::kNone);
  EXPECT_EQ(only_b.raw, (Doubles{4, 2}));
}

TEST(GroupImportance, RefusesNamesAndNumbersThatAreNone) {
  ESP_EXPECT_USER_ERROR(parse_aggregation("median"), "one of max, mean, prod, sum, found median");
  ESP_EXPECT_USER_ERROR(parse_group_normaliser("l2"), "found l2");
  ESP_EXPECT_USER_ERROR(
      group_importance(
          two_sets(), [](const std::string& name) { return score_of(name) * std::numeric_limits<double>::quiet_NaN(); },
          Aggregation::kSum, GroupNormaliser::kMean),
      "a: a score of axis 0 is not a number");
}

TEST(GroupImportance, RanksTiesByNumber) {
  EXPECT_EQ(rank_sets({2, 1, 2, -1, 1}), (std::vector<int32_t>{3, 1, 4, 0, 2}));
}

TEST(GroupImportance, RemovalsLeaveEveryDimItsChannels) {
  const test::Network network = test::concat_network();
  const Coupling coupling = find_coupling(network.graph);
  ASSERT_EQ(coupling.groups[0].set_count, 12);
  std::vector<int32_t> ranking(12);
  for (size_t i = 0; i < ranking.size(); ++i) ranking[i] = static_cast<int32_t>(11 - i);
  // b has the sets 7 … 11 and keeps two of them; then it is a's turn
  EXPECT_EQ(choose_removals(coupling, ranking, 5, {2, 1}), (std::vector<int32_t>{11, 10, 9, 6, 5}));
  // 12 − 5 kept goes up to 8: the last removed comes back
  EXPECT_EQ(choose_removals(coupling, ranking, 5, {2, 4}), (std::vector<int32_t>{11, 10, 9, 6}));
  EXPECT_EQ(choose_removals(coupling, ranking, 0, {1, 1}), std::vector<int32_t>{});
  ESP_EXPECT_USER_ERROR(choose_removals(coupling, ranking, 1, {0, 1}), "at least 1");
}

}  // namespace
}  // namespace espalier::group_importance_test
