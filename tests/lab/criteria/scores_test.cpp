// AMP, Taylor, block influence, principal basis, calibration statistics.
#include "espalier/lab/criteria/amp_scores.h"
#include "espalier/lab/criteria/block_influence.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/criteria/principal_basis.h"
#include "espalier/lab/criteria/taylor.h"
#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

TEST(Amp, HeadContributionIsTheNormOfTheProjectedHead) {
  at::manual_seed(1);
  const auto x = at::randn({1100, 6}), w = at::randn({5, 6});
  const auto scores = head_contributions(x, w, 3, "o_proj");
  for (int64_t h = 0; h < 3; ++h) {
    auto only = at::zeros_like(x);
    only.slice(1, 2 * h, 2 * h + 2).copy_(x.slice(1, 2 * h, 2 * h + 2));
    const double expected = only.matmul(w.t()).abs().sum(1).mean().item<double>();
    EXPECT_NEAR(scores[h].item<double>(), expected, 1e-4 * expected);
  }
}

TEST(Amp, BudgetRoundsHalvesToEvenAndLeavesOne) {
  const auto budget = [](double p, int64_t h, int64_t f) {
    const auto [heads, neurons] = amp_budget(p, h, f);
    return std::pair(heads, neurons);
  };
  EXPECT_EQ(budget(0.125, 4, 16), (std::pair<int64_t, int64_t>{0, 2}));
  EXPECT_EQ(budget(0.375, 4, 16), (std::pair<int64_t, int64_t>{2, 6}));  // 1.5 -> 2, then the remainder is negative
  EXPECT_EQ(budget(1.0, 4, 16), (std::pair<int64_t, int64_t>{3, 15}));
  EXPECT_EQ(budget(1.3, 4, 16), (std::pair<int64_t, int64_t>{3, 15}));
  EXPECT_EQ(budget(0.0, 1, 1), (std::pair<int64_t, int64_t>{0, 0}));
  EXPECT_EQ(budget(0.03, 32, 2), (std::pair<int64_t, int64_t>{1, 0}));  // 2 (16 (0.03 - 1/32) + 0.03) = 0.02
}

TEST(Amp, MistakesAreNamed) {
  ESP_EXPECT_USER_ERROR(amp_inner_ratio(1.0, 10, 5), "ratio: expected a number in [0, 1), found 1");
  ESP_EXPECT_USER_ERROR(amp_inner_ratio(-0.5, 10, 5), "found -0.5");
  ESP_EXPECT_USER_ERROR(head_contributions(at::ones({2, 6}), at::ones({5, 6}), 4, "l0.o"), "l0.o: width");
  ESP_EXPECT_USER_ERROR(head_contributions(at::ones({2, 8}), at::ones({5, 6}), 3, "l0.o"), "expected 6, found 8");
  ESP_EXPECT_USER_ERROR(PromptMean("amp").mean(), "there are no prompts");
  ESP_EXPECT_USER_ERROR(neuron_activations(at::full({2, 2}, std::nan("")), "l0.down"), "l0.down");
  EXPECT_DOUBLE_EQ(amp_inner_ratio(0.2, 100, 50), 0.4);
}

TEST(Amp, GroupsExpandToTheirHeads) {
  const auto keep = at::tensor(std::vector<double>{1, 0}, at::kDouble).to(at::kBool);
  EXPECT_TRUE(at::equal(expand_to_heads(keep, 6), at::tensor(std::vector<double>{1, 1, 1, 0, 0, 0}).to(at::kBool)));
}

TEST(Taylor, ReductionsOfAGroup) {
  const std::vector<at::Tensor> members = {at::tensor({1.0f, 2.0f}), at::tensor({3.0f, 0.5f}),
                                           at::tensor({2.0f, 4.0f})};
  const auto reduce = [&](const char* name) { return reduce_group(group_reduction_from_name(name), members); };
  EXPECT_TRUE(at::equal(reduce("sum"), at::tensor({6.0f, 6.5f})));
  EXPECT_TRUE(at::equal(reduce("prod"), at::tensor({6.0f, 4.0f})));
  EXPECT_TRUE(at::equal(reduce("max"), at::tensor({3.0f, 4.0f})));
  EXPECT_TRUE(at::equal(reduce("last"), at::tensor({2.0f, 4.0f})));
  ESP_EXPECT_USER_ERROR(group_reduction_from_name("produt"), "did you mean 'prod'");
}

TEST(Taylor, UnitsAreRunsOfRowsOrColumns) {
  const auto elements = at::arange(12, at::kFloat).reshape({4, 3});
  EXPECT_TRUE(at::equal(unit_importance(elements, 0, 2), at::tensor({15.0f, 51.0f})));
  EXPECT_TRUE(at::equal(unit_importance(elements, 1, 1), at::tensor({18.0f, 22.0f, 26.0f})));
}

TEST(Taylor, SecondOrderIsTheLossOfAQuadratic) {
  // Loss 0.5 f w^2 around w: removing w changes it by g w - 0.5 f w^2 with g = f w, that is 0.5 f w^2.
  TaylorStatistics statistics("w");
  const auto w = at::tensor({2.0f, -3.0f}).reshape({1, 2});
  statistics.add(w);  // g = w, so F = w^2
  const auto mix = taylor_importance(Taylor::kParamMix, w, statistics);
  EXPECT_TRUE(at::allclose(mix, at::tensor({4.0f, 31.5f}).reshape({1, 2})));  // |w^2 - 0.5 w^4|
  ESP_EXPECT_USER_ERROR(statistics.add(w * std::nan("")), "w: the gradient of sample 1 is not finite");
  ESP_EXPECT_USER_ERROR(TaylorStatistics("empty").gradient(), "empty: the calibration set is empty");
}

TEST(BlockInfluence, ScaleAndBatchingDoNotMatter) {
  at::manual_seed(2);
  const auto a = at::randn({20, 8}), b = at::randn({20, 8});
  BlockInfluence whole(1), pieces(1);
  whole.add(0, a, b);
  pieces.add(0, a.slice(0, 0, 5), b.slice(0, 0, 5) * 4);
  pieces.add(0, a.slice(0, 5), b.slice(0, 5));
  EXPECT_NEAR(whole.influence()[0].item<double>(), pieces.influence()[0].item<double>(), 1e-12);
  ESP_EXPECT_USER_ERROR(BlockInfluence(2).influence(), "block 0: the calibration set is empty");
}

TEST(PrincipalBasis, KeepsTheMostEnergy) {
  at::manual_seed(3);
  const auto x = at::randn({80, 7}).matmul(at::randn({7, 7}));
  GramAccumulator gram(7, "block");
  gram.add(x);
  const auto basis = principal_basis(gram.gram(), "block");
  EXPECT_NEAR((x - project(basis, x, 3)).to(at::kDouble).square().sum().item<double>(), lost_energy(basis, 3), 1e-2);
  EXPECT_TRUE(at::allclose(project(basis, x, 7), x, 1e-4, 1e-4));
  EXPECT_EQ(sliced_width(100, 0.75, 8), 72);
  EXPECT_EQ(sliced_width(4, 0.1, 8), 4);
}

TEST(GramAccumulator, EqualsTheProductOverAllTokens) {
  at::manual_seed(4);
  for (const int64_t width : {3, 1500}) {  // one strip, and two
    const auto x = at::randn({90, width});
    GramAccumulator gram(width, "fc");
    gram.add(x.slice(0, 0, 40).reshape({4, 10, width}));
    gram.add(x.slice(0, 40).to(at::kDouble));
    const auto expected = x.to(at::kDouble).t().matmul(x.to(at::kDouble));
    EXPECT_EQ(gram.tokens(), 90);
    EXPECT_TRUE(at::allclose(gram.gram(), expected, 1e-4, 1e-3));
    EXPECT_TRUE(at::equal(gram.gram(), gram.gram().t()));
    EXPECT_TRUE(at::allclose(gram.hessian() * 45, gram.gram()));
    EXPECT_TRUE(at::allclose(gram.column_norms(), x.norm(2, 0), 1e-4));
  }
}

TEST(GramAccumulator, WideLayersAccumulateInFloat) {
  at::manual_seed(5);
  const auto x = at::randn({3, kWideGram + 1});
  GramAccumulator gram(kWideGram + 1, "fc");
  gram.add(x);
  EXPECT_EQ(gram.gram().scalar_type(), at::kFloat);
  EXPECT_TRUE(at::allclose(gram.gram()[5], x.select(1, 5).matmul(x), 1e-4, 1e-4));
}

TEST(Statistics, NonFiniteInputAndEmptySetsAreNamed) {
  auto x = at::ones({3, 4});
  x[1][2] = std::numeric_limits<float>::infinity();
  ColumnNorms norms(4, "layers.1.fc");
  ESP_EXPECT_USER_ERROR(norms.norms(), "layers.1.fc: the calibration set is empty");
  ESP_EXPECT_USER_ERROR(norms.add(x), "layers.1.fc: the activations of input 2 are not finite");
  GramAccumulator gram(4, "layers.1.fc");
  ESP_EXPECT_USER_ERROR(gram.hessian(), "the calibration set is empty");
  ESP_EXPECT_USER_ERROR(gram.add(x), "layers.1.fc: the activations of input 2 are not finite");
  ESP_EXPECT_USER_ERROR(gram.add(at::ones({3, 5})), "expected 4, found 5");
}

}  // namespace
}  // namespace espalier
