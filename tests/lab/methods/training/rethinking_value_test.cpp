#include "espalier/lab/methods/training/rethinking_value.h"

#include <gtest/gtest.h>

#include "espalier/lab/torch.h"
#include "espalier/lab/training/fresh_weights.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier {
namespace {

// Two convolutions of 3 x 3 at 6 x 6 and, with stride 2, 3 x 3; a Linear: norms, activations and biases are free.
TEST(RethinkingValue, CountsMultiplyAddsOfLayersAlone) {
  const int64_t layers = 4 * 3 * 9 * 36 + 5 * 4 * 9 * 9 + 3 * 5;
  EXPECT_EQ(layer_multiply_adds(test::small_classifier()), layers);
  // A norm and an activation behind each convolution, and the classifier's bias.
  EXPECT_EQ(layer_multiply_adds(test::small_classifier(), Counted::kAll), layers + 2 * 4 * 36 + 2 * 5 * 9 + 3);
}

TEST(RethinkingValue, BudgetsByHand) {
  EXPECT_EQ(scratch_b_epochs(160, 1516, 1000), 242);  // 242.56
  EXPECT_EQ(scratch_b_epochs(160, 3000, 1000), 480);
  EXPECT_EQ(scratch_b_epochs(160, 3000, 1000, 2.0), 320);
  EXPECT_EQ(scratch_b_epochs(7, 1000, 1000, 2.0), 7);
  EXPECT_EQ(drop_epochs(15), (std::vector<int64_t>{7, 11}));
  ESP_EXPECT_USER_ERROR(scratch_b_epochs(10, 1000, 0), "multiply-adds");
}

TEST(RethinkingValue, FiltersByTheSumOfTheirMagnitudes) {
  const at::Tensor w = at::tensor({1, -1, 3, 0, -2, 2, 2, -2}, at::kFloat).view({4, 2, 1, 1});
  EXPECT_TRUE(at::equal(filter_l1(w), at::tensor({2, 3, 4, 4}, at::kFloat)));
  EXPECT_EQ(highest_l1_filters(w, 2), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(highest_l1_filters(w, 1), (std::vector<int64_t>{2}));
}

TEST(RethinkingValue, StagesShareTheirDensity) {
  const GuidedDensities found = guided_densities({{0, 2}, {1}}, {10, 100, 30}, {5, 20, 5});
  EXPECT_EQ(found.layer, (std::vector<double>{0.25, 0.2, 0.25}));
  EXPECT_DOUBLE_EQ(found.uniform, 30.0 / 140);
}

TEST(RethinkingValue, Verdicts) {
  const ControlVerdict equal = control_verdict({90.0, 90.2}, {90.2, 90.2});
  EXPECT_NEAR(equal.difference, -0.1, 1e-12);
  EXPECT_NEAR(equal.standard_error, 0.1, 1e-12);  // variance 0.02 over two seeds
  EXPECT_EQ(equal.text, "scratch at least equal");
  EXPECT_EQ(control_verdict({88.0, 88.2}, {90.2, 90.2}).text, "inherited weights help");
  EXPECT_EQ(control_verdict({86.0, 92.0}, {90.2, 90.2}).text, "undecided");
  ESP_EXPECT_USER_ERROR(control_verdict({90.0}, {90.0, 91.0}), "at least 2");
}

// Deviations of many weights against sqrt(2 / fan) of either side.
TEST(RethinkingValue, InitialWeightsByEitherFan) {
  test::Network n;
  n.input("x", {1, 64, 4, 4});
  n.head(test::unbiased_conv(n, "x", "conv", {32, 64, 3, 3}, 1), 32);
  const auto deviation = [&](bool fan_out) {
    initialise_weights(n.graph, 3, {.fan_out = fan_out});
    double squares = 0;
    const auto values = n.graph.parameter("conv.w").load().to_floats();
    for (float value : values) squares += static_cast<double>(value) * value;
    return std::sqrt(squares / static_cast<double>(values.size()));
  };
  EXPECT_NEAR(deviation(false), std::sqrt(2.0 / (64 * 9)), 1e-3);
  EXPECT_NEAR(deviation(true), std::sqrt(2.0 / (32 * 9)), 2e-3);
}

}  // namespace
}  // namespace espalier
