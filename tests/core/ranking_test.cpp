#include "espalier/core/ranking.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "espalier/core/rng.h"
#include "tests/support.h"

namespace espalier {
namespace {

// The definition, by full stable sort.
std::vector<uint8_t> reference_keep(const std::vector<float>& scores, int64_t k) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] < scores[b]; });
  std::vector<uint8_t> keep(scores.size(), 1);
  for (int64_t i = 0; i < k; ++i) keep[order[i]] = 0;
  return keep;
}

std::vector<float> random_scores(int64_t n, int grid, uint64_t seed) {
  Rng rng(seed, "ranking-test");
  std::vector<float> scores(n);
  for (float& score : scores) {
    score = static_cast<float>(rng.normal());
    if (grid) score = std::round(score * grid) / grid;  // many ties
  }
  return scores;
}

int64_t removed(const std::vector<uint8_t>& keep) { return std::count(keep.begin(), keep.end(), 0); }

TEST(Ranking, RemovalCountIsTheFloorOfTheShare) {
  EXPECT_EQ(removal_count(0.3, 10), 3);  // 0.3 * 10 = 2.9999999999999996 in some orders of evaluation
  EXPECT_EQ(removal_count(0.7, 10), 7);
  EXPECT_EQ(removal_count(0.29, 100), 29);
  EXPECT_EQ(removal_count(0.999, 10), 9);
  EXPECT_EQ(removal_count(0, 10), 0);
  EXPECT_EQ(removal_count(1, 10), 10);
  EXPECT_EQ(removal_count(0.5, 0), 0);
}

TEST(Ranking, RoundsHalvesToEven) {
  const std::pair<double, int64_t> cases[] = {{0.5, 0}, {1.5, 2},  {2.5, 2},   {3.5, 4},   {2.4999, 2},
                                              {2.6, 3}, {-0.5, 0}, {-1.5, -2}, {-2.5, -2}, {7, 7}};
  for (const auto& [value, expected] : cases) EXPECT_EQ(round_half_even(value), expected) << value;
}

TEST(Ranking, ShareOutsideRangeIsTheUsersError) {
  ESP_EXPECT_USER_ERROR(check_share(1.0, "magnitude"), "magnitude: sparsity: expected a number in [0, 1), found 1");
  ESP_EXPECT_USER_ERROR(check_share(-0.1, "x"), "found -0.1");
  ESP_EXPECT_USER_ERROR(check_share(std::nan(""), "x"), "found nan");
}

TEST(Ranking, NanIsNamedWithItsPosition) {
  std::vector<float> scores(100, 1.0f);
  check_no_nan(scores, "layer");
  scores[37] = std::nanf("");
  ESP_EXPECT_USER_ERROR(check_no_nan(scores, "layers.0.w"), "layers.0.w: the value at position 37 of 100 is NaN");
  EXPECT_THROW(find_cut(scores, 3), Bug);
}

TEST(Ranking, EqualValuesGoLowestIndexFirst) {
  for (const int64_t n : {1, 7, 1000, 5000}) {
    const std::vector<float> equal(n, -2.5f);
    for (int tenth = 0; tenth < 10; ++tenth) {
      const int64_t k = removal_count(tenth / 10.0, n);
      const auto keep = keep_all_but_smallest(equal, k);
      EXPECT_EQ(removed(keep), k);
      EXPECT_TRUE(std::is_sorted(keep.begin(), keep.end())) << n << " " << k;
    }
  }
}

TEST(Ranking, NegativeZeroEqualsZero) {
  const std::vector<float> zeros = {0.0f, -0.0f, 0.0f, -0.0f};
  EXPECT_EQ(select_smallest(zeros, 2), (std::vector<int64_t>{0, 1}));
}

TEST(Ranking, InfinitiesRankAtTheEnds) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> scores = {infinity, 1, -infinity, infinity, 0};
  EXPECT_EQ(select_smallest(scores, 2), (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(select_smallest(scores, 4), (std::vector<int64_t>{0, 1, 2, 4}));
  EXPECT_EQ(ascending_order(scores), (std::vector<int64_t>{2, 4, 1, 0, 3}));
}

TEST(Ranking, MatchesAFullSortWithAndWithoutTies) {
  for (const int64_t n : {1, 2, 100, 2047, 2048, 2049, 40000}) {
    for (const int grid : {0, 1, 8}) {
      const auto scores = random_scores(n, grid, static_cast<uint64_t>(n + grid));
      for (const double share : {0.0, 0.001, 0.3, 0.5, 0.9, 0.999, 1.0}) {
        const int64_t k = removal_count(share, n);
        ASSERT_EQ(keep_all_but_smallest(scores, k), reference_keep(scores, k)) << n << " " << grid << " " << share;
      }
    }
  }
}

TEST(Ranking, SurvivesValuesThatMisleadItsSample) {
  // The sample takes one entry of each run of 16; every entry that it takes is an outlier here.
  const int64_t n = 512 * 16;
  auto scores = random_scores(n, 0, 5);
  for (int64_t i = 0; i < 512; ++i) scores[i * 16 + i * 0x9e3779b1u % 16] = 1000.0f + static_cast<float>(i);
  for (const int64_t k : {1, 4000, 7679, 7680, 8000})
    ASSERT_EQ(keep_all_but_smallest(scores, k), reference_keep(scores, k));
}

TEST(Ranking, LargestAreTakenLowestIndexFirstToo) {
  const std::vector<float> scores = {3, 1, 3, 2, 3};
  EXPECT_EQ(select_largest(scores, 2), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(select_largest(scores, 4), (std::vector<int64_t>{0, 2, 3, 4}));
}

TEST(Ranking, OneCutServesConsecutivePieces) {
  const auto scores = random_scores(1000, 2, 3);
  Cut cut = find_cut(scores, 400);
  std::vector<uint8_t> keep(1000, 1);
  const std::span all(scores);
  int64_t taken = 0;
  for (size_t start = 0; start < 1000; start += 125) {
    taken += apply_cut(cut, all.subspan(start, 125), std::span(keep).subspan(start, 125));
  }
  EXPECT_EQ(taken, 400);
  EXPECT_EQ(keep, reference_keep(scores, 400));
}

TEST(Ranking, NOfMKeepsTheBestOfEveryRun) {
  for (const auto& [n, m] : {std::pair<int64_t, int64_t>{2, 4}, {1, 4}, {4, 8}, {5, 20}, {3, 3}, {0, 2}}) {
    const auto scores = random_scores(m * 50, 2, static_cast<uint64_t>(m));
    std::vector<uint8_t> keep(scores.size(), 1);
    keep_n_of_m(scores, n, m, keep);
    for (int64_t start = 0; start < std::ssize(scores); start += m) {
      const std::vector<float> group(scores.begin() + start, scores.begin() + start + m);
      const std::vector<uint8_t> found(keep.begin() + start, keep.begin() + start + m);
      ASSERT_EQ(found, reference_keep(group, m - n)) << n << ":" << m;
    }
  }
}

// The streaming selector over pieces against the full sort of the whole.
Cut stream(const std::vector<std::vector<float>>& pieces, int64_t k) {
  StreamingCut selector;
  for (const auto& piece : pieces) selector.survey(piece);
  selector.choose(k);
  for (const auto& piece : pieces) selector.refine(piece);
  return selector.cut();
}

TEST(StreamingCut, EqualsAFullSortOverAllPieces) {
  for (const int grid : {0, 2, 64}) {
    std::vector<std::vector<float>> pieces;
    std::vector<float> all;
    for (const int64_t n : {1, 300, 5000, 17, 20000}) {
      pieces.push_back(random_scores(n, grid, static_cast<uint64_t>(n)));
      for (float weight : pieces.back()) all.push_back(std::fabs(weight));
    }
    for (int tenth = 0; tenth <= 10; ++tenth) {
      const int64_t k = removal_count(tenth / 10.0, std::ssize(all));
      Cut cut = stream(pieces, k);
      std::vector<uint8_t> keep(all.size(), 1);
      EXPECT_EQ(apply_cut(cut, all, keep), k);
      ASSERT_EQ(keep, reference_keep(all, k)) << grid << " " << tenth;
    }
  }
}

TEST(StreamingCut, HandlesZerosDenormalsAndInfinity) {
  const float infinity = std::numeric_limits<float>::infinity(), tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> weights = {infinity, -0.0f, tiny, 0.0f, -tiny, -infinity, 1.0f};
  const std::pair<int64_t, Cut> cases[] = {{0, {}},        {1, {0, 1}}, {2, {0, 2}},
                                           {3, {tiny, 1}}, {5, {1, 1}}, {7, {infinity, 2}}};
  for (const auto& [k, expected] : cases) {
    const Cut cut = stream({weights}, k);
    EXPECT_EQ(cut.threshold, expected.threshold) << k;
    EXPECT_EQ(cut.ties, expected.ties) << k;
  }
}

TEST(StreamingCut, LimitKeepsTheLargestOutOfTheRanking) {
  const std::vector<float> weights = {5, 1, 3, 3, 3, 2};
  const Cut limit = find_cut(weights, 3);  // may lose 1, 2 and the first 3
  StreamingCut selector;
  selector.survey(weights, &limit);
  EXPECT_EQ(selector.surveyed(), 3);
  selector.choose(3);
  selector.refine(weights, &limit);
  EXPECT_EQ(selector.cut().threshold, 3);
  EXPECT_EQ(selector.cut().ties, 1);
}

TEST(StreamingCut, TenMillionWeightsTakeUnderThreeSeconds) {
  std::vector<float> weights(10000000);
  uint32_t state = 1;
  for (float& weight : weights) {
    state = state * 1664525u + 1013904223u;
    weight = static_cast<float>(static_cast<int32_t>(state)) * 1e-9f;
  }
  const auto start = std::chrono::steady_clock::now();
  Cut cut = stream({weights}, 9000000);
  for (float& weight : weights) weight = std::fabs(weight);
  std::vector<uint8_t> keep(weights.size(), 1);
  EXPECT_EQ(apply_cut(cut, weights, keep), 9000000);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(removed(keep), 9000000);
  EXPECT_LT(seconds, 3.0);
  RecordProperty("seconds", std::to_string(seconds));
}

}  // namespace
}  // namespace espalier
