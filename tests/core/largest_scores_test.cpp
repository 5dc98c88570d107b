#include "espalier/core/largest_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "espalier/core/ranking.h"
#include "espalier/core/rng.h"

namespace espalier {
namespace {

std::vector<int32_t> chosen(const std::vector<float>& scores, int64_t k) {
  LargestScores largest;
  std::vector<int32_t> list;
  largest.choose(scores, k, list);
  return list;
}

TEST(LargestScores, AreThoseOfTheRanking) {
  Rng rng(1, "scores");
  LargestScores largest;
  std::vector<int32_t> list;
  for (const int64_t n : {1, 2, 63, 700, 5000})
    for (const int kind : {0, 1, 2, 3}) {
      std::vector<float> scores;
      for (int64_t i = 0; i < n; ++i) {
        const auto x = static_cast<float>(rng.normal());
        // Plain; many equal ones; a long tail; with infinities.
        scores.push_back(kind == 0 ? x : kind == 1 ? std::floor(x) : kind == 2 ? std::exp(12 * x) : x > 2 ? INFINITY : x < -1 ? -INFINITY : x);
      }
      for (const int64_t k : {int64_t{0}, int64_t{1}, n / 3, n / 2, n - 1, n}) {
        const auto expected = select_largest(scores, k);
        largest.choose(scores, k, list);
        EXPECT_EQ(std::vector<int64_t>(list.begin(), list.end()), expected) << n << " " << kind << " " << k;
      }
    }
}

TEST(LargestScores, NotANumberComesLast) {
  const float nan = std::nanf(""), most = std::numeric_limits<float>::max();
  EXPECT_EQ(chosen({nan, 1, nan, 2}, 2), (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(chosen({nan, nan, nan}, 1), (std::vector<int32_t>{0}));
  EXPECT_EQ(chosen({-most, most, 0, nan, INFINITY}, 3), (std::vector<int32_t>{1, 2, 4})) << "wider than a float";
}

}  // namespace
}  // namespace espalier
