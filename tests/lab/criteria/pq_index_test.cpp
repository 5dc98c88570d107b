#include "espalier/lab/criteria/pq_index.h"

#include <chrono>

#include "espalier/lab/torch.h"
#include "tests/lab/criteria/small_tensors.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::numbers;

TEST(PqIndex, FollowsItsFormula) {
  // p 1, q 2: 1 - 4^(-1/2) · (1 + 2 + 2 + 4) / 5
  EXPECT_NEAR(pq_index(numbers({1, -2, 2, -4}), 1, 2, "w"), 0.1, 1e-12);
  // p 1/2, q 1: 1 - 2^(-1) · (1 + 3)^2 / 10
  EXPECT_NEAR(pq_index(numbers({1, 9}), 0.5, 1, "w"), 0.2, 1e-12);
  // p 2, q 3 through pow: 1 - 2^(-1/6) · 5^(1/2) / 9^(1/3)
  EXPECT_NEAR(pq_index(numbers({1, 2}), 2, 3, "w"), 1 - std::pow(2, -1.0 / 6) * std::sqrt(5) / std::cbrt(9), 1e-12);
}

TEST(PqIndex, HasItsKnownExtremes) {
  for (const auto& [p, q] : {std::pair{0.5, 1.0}, {1.0, 2.0}, {0.1, 1.5}}) {
    EXPECT_NEAR(pq_index(at::full({50}, -0.3), p, q, "w"), 0, 1e-12);
    at::Tensor one = at::zeros({50});
    one[7] = -2;
    EXPECT_NEAR(pq_index(one, p, q, "w"), 1 - std::pow(50, 1 / q - 1 / p), 1e-9);
    EXPECT_EQ(pq_index(at::zeros({50}), p, q, "w"), 0);
    EXPECT_EQ(pq_index(at::zeros({0}), p, q, "w"), 0);
    EXPECT_EQ(pq_index(at::full({1}, 3.0), p, q, "w"), 0);
  }
}

TEST(PqIndex, HeedsNeitherScaleNorCopies) {
  at::manual_seed(1);
  for (const auto& [p, q] : {std::pair{0.5, 1.0}, {1.0, 2.0}, {0.3, 0.9}}) {
    const at::Tensor w = at::randn({1000}, at::kDouble);
    const double index = pq_index(w, p, q, "w");
    EXPECT_GT(index, 0);
    EXPECT_LT(index, 1);
    for (const double scale : {1e-30, 3.7, 1e30}) EXPECT_NEAR(pq_index(w * scale, p, q, "w"), index, 1e-9);
    EXPECT_NEAR(pq_index(at::cat({w, w, w}), p, q, "w"), index, 1e-9);
    EXPECT_GT(pq_index(at::cat({w, at::zeros({100}, at::kDouble)}), p, q, "w"), index);  // zeros that count
  }
}

TEST(PqIndex, AddsUpOverPieces) {
  at::manual_seed(4);
  const at::Tensor w = at::randn({3000}, at::kDouble).pow(3);
  for (const auto& [p, q] : {std::pair{0.5, 1.0}, {1.0, 2.0}, {0.3, 0.9}}) {
    PqSums sums(p, q, "w");
    for (const auto& piece : {at::zeros({0}), w.slice(0, 0, 700), w.slice(0, 700, 701), w.slice(0, 701)}) sums.add(piece);
    EXPECT_EQ(sums.count(), 3000);
    EXPECT_NEAR(sums.index(), pq_index(w, p, q, "w"), 1e-12);
  }
}

TEST(PqIndex, FallsWhenTheLargeGiveToTheSmall) {
  EXPECT_GT(pq_index(numbers({1, 2, 9}), 1, 2, "w"), pq_index(numbers({2, 2, 8}), 1, 2, "w"));
  EXPECT_GT(gini_index(numbers({1, 2, 9}), "w"), gini_index(numbers({2, 2, 8}), "w"));
}

TEST(PqIndex, RefusesOrdersAndWeightsWithoutMeaning) {
  const at::Tensor w = at::ones({4});
  for (const auto& [p, q] : {std::pair{1.0, 1.0}, {2.0, 1.0}, {0.0, 1.0}, {-1.0, 1.0}}) EXPECT_THROW(pq_index(w, p, q, "w"), UserError);
  EXPECT_THROW(pq_index(at::full({4}, std::nan("")), 1, 2, "w"), UserError);
  EXPECT_THROW(pq_index(at::full({4}, INFINITY), 1, 2, "w"), UserError);
}

TEST(GiniIndex, FollowsItsFormula) {
  // ascending 1, 2, 5: (-2 · 1 + 0 · 2 + 2 · 5) / (3 · 8)
  EXPECT_NEAR(gini_index(numbers({5, -1, 2}), "w"), 8.0 / 24, 1e-12);
  EXPECT_NEAR(gini_index(at::full({9}, 4.0), "w"), 0, 1e-12);
  EXPECT_EQ(gini_index(at::zeros({9}), "w"), 0);
}

TEST(PqIndex, OfTenMillionWeightsTakesUnderASecond) {
  at::manual_seed(2);
  const at::Tensor w = at::randn({10'000'000});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_GT(pq_index(w, 0.5, 1, "w"), 0);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 1);
}

}  // namespace
}  // namespace espalier
