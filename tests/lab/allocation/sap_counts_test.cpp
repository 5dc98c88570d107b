#include "espalier/lab/allocation/sap_counts.h"

#include "espalier/lab/criteria/pq_index.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

TEST(SapCounts, FollowTheBound) {
  // p 1/2, q 1: 100 · (1 + 0.1)^-2 · (1 - 0.592) = 33.7
  SapSettings settings{.p = 0.5, .q = 1, .eta = 0.1};
  EXPECT_EQ(sap_retained(100, 0.592, settings), 34);
  // p 1, q 2: 100 · (1 - 0.5)^2
  settings = {.p = 1, .q = 2};
  EXPECT_EQ(sap_retained(100, 0.5, settings), 25);
  const SapCount count = sap_count(100, 0.5, settings);
  EXPECT_DOUBLE_EQ(count.rate, 0.75);
  EXPECT_EQ(count.removed, 75);
  settings.gamma = 3;
  EXPECT_EQ(sap_count(100, 0.5, settings).removed, 90);  // beta
}

TEST(SapCounts, CountWhatRoundingWouldLose) {
  // 65 (1 - 56/65) is 8.999999999999996 in binary
  EXPECT_EQ(sap_count(65, 1 - 55.5 / 65, {.p = 0.5, .q = 1}).removed, 9);
}

TEST(SapCounts, KeepASingleWeightAndSurviveAnEmptyGroup) {
  EXPECT_EQ(sap_count(1, 0, {}).removed, 0);
  EXPECT_EQ(sap_count(0, 0, {}).removed, 0);
  SapSettings hard{.eta = 1e6};
  EXPECT_EQ(sap_retained(10, 0.9, hard), 1);
}

TEST(SapCounts, GrowWithEtaAndGamma) {
  int64_t before = 0;
  for (const double eta : {0.0, 0.001, 0.01, 0.1, 1.0}) {
    const int64_t removed = sap_count(1000, 0.3, {.eta = eta}).removed;
    EXPECT_GE(removed, before);
    before = removed;
  }
  before = 0;
  for (const double gamma : {0.5, 1.0, 3.0, 9.0}) {
    const int64_t removed = sap_count(1000, 0.3, {.gamma = gamma}).removed;
    EXPECT_GE(removed, before);
    before = removed;
  }
}

// The r largest stay; what the others have of the p-th powers is eta. Then r is at least the bound, for any vector.
TEST(SapCounts, TheBoundHoldsForRandomVectors) {
  at::manual_seed(3);
  for (const auto& [p, q] : {std::pair{0.5, 1.0}, {1.0, 2.0}, {0.2, 1.7}}) {
    for (int trial = 0; trial < 50; ++trial) {
      const at::Tensor w = std::get<0>(at::randn({200}, at::kDouble).abs().pow(1 + trial % 5).sort(0, true));
      for (const int64_t kept : {1, 3, 20, 100, 199}) {
        const double eta = (w.slice(0, kept).pow(p).sum() / w.slice(0, 0, kept).pow(p).sum()).item<double>();
        EXPECT_GE(kept, sap_retained(200, pq_index(w, p, q, "w"), {.p = p, .q = q, .eta = eta})) << p << " " << q << " " << kept;
      }
    }
  }
}

LayerTensors ones_like(const LayerTensors& weights) {
  LayerTensors masks;
  for (const auto& weight : weights) masks.push_back(at::ones(weight.sizes(), at::kBool));
  return masks;
}

TEST(SapRound, RemovesExactlyItsCountFromEveryGroup) {
  at::manual_seed(4);
  const LayerTensors weights{at::randn({6, 20}).pow(3), at::randn({4, 3, 3, 3})};
  for (const SapScope scope : {SapScope::kGlobal, SapScope::kLayer, SapScope::kNeuron}) {
    LayerTensors masks = ones_like(weights);
    int64_t alive = alive_count(masks);
    for (int round = 0; round < 3; ++round) {
      const auto groups = sap_round(weights, masks, {.scope = scope}, "w");
      EXPECT_EQ(groups.size(), scope == SapScope::kGlobal ? 1u : scope == SapScope::kLayer ? 2u : 10u);
      int64_t removed = 0;
      for (const SapGroup& group : groups) removed += group.count.removed;
      EXPECT_EQ(alive_count(masks), alive - removed);
      alive -= removed;
    }
  }
}

TEST(SapRound, TakesMoreFromTheMoreUnequalLayer) {
  at::manual_seed(5);
  const LayerTensors weights{at::rand({10, 20}) + 1, at::randn({10, 20}).pow(5)};
  const LayerTensors masks = ones_like(weights);
  const auto groups = sap_round(weights, masks, {}, "w");
  EXPECT_LT(groups[0].count.removed, groups[1].count.removed);
}

TEST(SapCounts, RefuseWhatHasNoMeaning) {
  EXPECT_NO_THROW(check_sap({}, "sap"));
  EXPECT_THROW(check_sap({.p = 1, .q = 1}, "sap"), UserError);
  EXPECT_THROW(check_sap({.p = 0}, "sap"), UserError);
  EXPECT_THROW(check_sap({.eta = -0.1}, "sap"), UserError);
  EXPECT_THROW(check_sap({.gamma = 0}, "sap"), UserError);
  EXPECT_THROW(check_sap({.beta = 0}, "sap"), UserError);
  EXPECT_THROW(check_sap({.beta = 1.1}, "sap"), UserError);
  EXPECT_THROW(sap_scope("sap: option scope", "filter"), UserError);
  EXPECT_THROW(sap_round({at::full({2, 2}, std::nan(""))}, {at::ones({2, 2}, at::kBool)}, {}, "w"), UserError);
}

}  // namespace
}  // namespace espalier
