#include "espalier/lab/criteria/norm_scales.h"

#include <gtest/gtest.h>

#include "espalier/lab/torch.h"
#include "tests/lab/criteria/small_tensors.h"
#include "tests/support.h"

namespace espalier {
namespace {

at::Tensor floats(const std::vector<double>& values) { return at::tensor(values, at::kFloat); }
using test::flags;

TEST(NormScales, PenaltiesByHand) {
  const at::Tensor gamma = floats({0, 0.5, -0.25, 1e-5});
  EXPECT_TRUE(at::allclose(penalty_gradient(gamma, ScalePenalty::kL1, 0.1, 0.01), floats({0, 0.1, -0.1, 0.1})));
  EXPECT_TRUE(at::allclose(penalty_gradient(gamma, ScalePenalty::kL2, 0.1, 0.01), floats({0, 0.05, -0.025, 1e-6})));
  // lr · s = 1e-3: only the last lies below.
  EXPECT_TRUE(at::allclose(penalty_gradient(gamma, ScalePenalty::kSmoothL1, 0.1, 0.01), floats({0, 0.1, -0.1, 1e-6})));
  EXPECT_TRUE(at::allclose(penalty_gradient(gamma, ScalePenalty::kL1, 0.1, 0.01, flags({1, 0, 1, 0})), floats({0, 0, -0.1, 0})));
}

TEST(NormScales, OneRankingCutsLayersByTheirScales) {
  const SlimmingCut cut = slimming_cut({floats({3, -0.1, 2}), floats({0.2, 0.3}), floats({1, 1, 1})}, 0.5);  // 4 of 8
  EXPECT_TRUE(at::equal(cut.keep[0], flags({1, 0, 1})));
  EXPECT_TRUE(at::equal(cut.keep[1], flags({0, 1})));  // both would go; the largest stays
  EXPECT_TRUE(at::equal(cut.keep[2], flags({0, 1, 1})));
  EXPECT_EQ(cut.rescued, 1);
}

TEST(NormScales, TheThresholdIsStrictAndTheLeastStay) {
  EXPECT_TRUE(at::equal(keep_above(floats({0.5, -0.75, 0.25}), 0.5), flags({0, 1, 0})));
  EXPECT_TRUE(at::equal(keep_above(floats({0.5, 0.5, -0.5, 0.1}), 1, 2), flags({1, 1, 0, 0})));
  EXPECT_TRUE(at::equal(keep_above(floats({0.5}), 1, 3), flags({1})));
}

// Squares 1e-6, 4e-6, 1, 4: the first two hold 1e-6 of the sum, the third passes 1e-4.
TEST(NormScales, EnergyThresholdByHand) {
  EXPECT_NEAR(energy_threshold(floats({1, -1e-3, 2, 2e-3})), (2e-3 + 1) / 2, 1e-7);
  EXPECT_EQ(energy_threshold(floats({1, 2})), 0);
  EXPECT_EQ(energy_threshold(floats({1e-4, 9e-4})), 1);
}

// Three layers would cut {0, 1}, {1, 2}, {1, 2, 3}: at least two must go; one channel has all votes, two have two.
TEST(NormScales, VotesOfAStage) {
  EXPECT_TRUE(at::equal(vote_on_stage({flags({0, 0, 1, 1}), flags({1, 0, 0, 1}), flags({1, 0, 0, 0})}), flags({1, 0, 0, 1})));
  EXPECT_TRUE(at::equal(vote_on_stage({flags({1, 1}), flags({0, 0})}), flags({1, 1})));
  EXPECT_TRUE(at::equal(vote_on_stage({flags({1, 0, 1})}), flags({1, 0, 1})));
}

}  // namespace
}  // namespace espalier
