#include "espalier/lab/methods/training/consensus_gates.h"

#include <gtest/gtest.h>

#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

TEST(ConsensusGates, HalfIsClosed) {
  const at::Tensor logits = at::tensor({-0.1, 0.0, 0.1}, at::kDouble);
  EXPECT_TRUE(at::equal(hard_gates(logits), at::tensor({0.0, 0.0, 1.0}, at::kDouble)));
}

// A saturated gate still learns: its slope is the one at 8.
TEST(ConsensusGates, GradientsPassStraightThrough) {
  at::AutoGradMode with_gradients(true);
  const at::Tensor logits = at::tensor({0.0, 30.0}, at::kDouble).set_requires_grad(true);
  hard_gates(logits).sum().backward();
  EXPECT_NEAR(logits.grad()[0].item<double>(), 0.25, 1e-15);
  const double s = 1 / (1 + std::exp(-8.0));
  EXPECT_NEAR(logits.grad()[1].item<double>(), s * (1 - s), 1e-12);
}

// Two gates, costs 3 and 1, four samples: means 3/4 and 1/2.
TEST(ConsensusGates, PenaltiesByHand) {
  const at::Tensor gates = at::tensor({1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0}, at::kDouble).view({4, 2});
  const GatePenalties p = gate_penalties(gates, at::tensor({3.0, 1.0}, at::kDouble), {.polar = 2, .activity = 0.5, .budget = 4, .target = 0.5});
  EXPECT_DOUBLE_EQ(p.polar.item<double>(), (3.0 / 16 + 1.0 / 4) / 2);
  EXPECT_DOUBLE_EQ(p.activity.item<double>(), 0.625);
  EXPECT_DOUBLE_EQ(p.cost_share.item<double>(), (2.25 + 0.5) / 4);
  EXPECT_DOUBLE_EQ(p.budget.item<double>(), 0.1875 * 0.1875);
  EXPECT_DOUBLE_EQ(p.total.item<double>(), 2 * 7.0 / 32 + 0.5 * 0.625 + 4 * 0.1875 * 0.1875);
}

// The two readings of the mean: gates that all agree may still be soft in the middle.
TEST(ConsensusGates, HardGatesAgreeWhereSoftOnesHesitate) {
  const at::Tensor logits = at::full({8, 1}, 0.04, at::kDouble), cost = at::ones({1}, at::kDouble);
  EXPECT_EQ(gate_penalties(hard_gates(logits), cost, {}).polar.item<double>(), 0);
  EXPECT_NEAR(gate_penalties(logits.sigmoid(), cost, {}).polar.item<double>(), 0.25, 1e-3);
}

TEST(ConsensusGates, AUnitInTheMiddleIsDropped) {
  const GateChoice choice = choose_by_gates(at::tensor({0.5, 0.51, 0.0, 1.0}, at::kDouble));
  EXPECT_TRUE(at::equal(choice.kept, at::tensor({0, 1, 0, 1}, at::kLong).to(at::kBool)));
  EXPECT_NEAR(choice.consensus, (0.5 + 0.51 + 1 + 1) / 4, 1e-15);
}

TEST(ConsensusGates, BeginOpen) {
  const GateModule module = make_gates(16, 3, 0, Rng(0, "gates"));
  EXPECT_EQ(module.w1.size(0), 4);
  at::NoGradGuard no_gradients;
  const at::Tensor x = at::sin(at::arange(5 * 16 * 9, at::kFloat)).view({5, 16, 3, 3});
  EXPECT_TRUE(at::equal(hard_gates(gate_logits(module, pooled_input(x))), at::ones({5, 3})));
}

TEST(ConsensusGates, GatesMultiplySamplesOrChannels) {
  const at::Tensor x = at::ones({2, 3, 2, 2});
  EXPECT_EQ(gated(x, at::tensor({1, 0}, at::kFloat)).sum().item<double>(), 12);
  EXPECT_EQ(gated(x, at::tensor({1, 0, 0, 0, 1, 1}, at::kFloat).view({2, 3})).sum().item<double>(), 12);
}

}  // namespace
}  // namespace espalier
