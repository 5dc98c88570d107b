// Ranking inside modules by DIMAP's scores: what it does not depend on, ties, and what is refused.
#include "espalier/lab/allocation/module_ranking.h"

#include <gtest/gtest.h>

#include "espalier/lab/criteria/dimap_scores.h"
#include "espalier/lab/criteria/magnitude.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier::module_ranking_test {
namespace {

at::Tensor wave(int64_t rows, int64_t columns, double step) { return at::sin(at::arange(rows * columns, at::kFloat) * step).view({rows, columns}); }

std::vector<at::Tensor> masks(const std::vector<at::Tensor>& weights, double ratio) {
  std::vector<LayerWeights> layers;
  for (const auto& w : weights) layers.push_back({fmt::format("layer{}", layers.size()), w.numel(), [w] { return w; }});
  const ModuleCut cut = rank_module(layers, ratio, dimap_scores);
  std::vector<at::Tensor> keep;
  int64_t removed = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    keep.push_back(module_cut_mask(weights[l], cut.cuts[l], dimap_scores, layers[l].name));
    EXPECT_EQ(keep.back().numel() - keep.back().sum().item<int64_t>(), cut.layer_removed[l]);
    removed += cut.layer_removed[l];
  }
  EXPECT_EQ(removed, cut.removed);
  return keep;
}

TEST(ModuleRanking, DoesNotDependOnALayersScale) {
  const std::vector<at::Tensor> weights{wave(7, 9, 1.3), wave(5, 4, 0.7), wave(6, 6, 2.1)};
  const auto before = masks(weights, 0.6), after = masks({weights[0], weights[1] * 100, weights[2]}, 0.6);
  for (size_t l = 0; l < before.size(); ++l) EXPECT_TRUE(at::equal(before[l], after[l])) << l;
}

TEST(ModuleRanking, OfOneLayerIsMagnitude) {
  const at::Tensor weight = wave(8, 9, 1.3);
  EXPECT_TRUE(at::equal(masks({weight}, 0.5)[0], magnitude_mask(weight, {0.5, Scope::kLayer}, "w")));
}

TEST(ModuleRanking, NeverEmptiesALayerBeforeTheOthers) {
  for (const auto& keep : masks({wave(7, 9, 1.3), wave(5, 4, 0.7) * 1e-6, wave(30, 30, 2.1)}, 0.99)) EXPECT_TRUE(keep.any().item<bool>());
}

TEST(ModuleRanking, SumsOfEqualTailsStayExact) {
  at::Tensor weight = at::full({1, 1000}, 1e-6, at::kFloat);
  weight[0][7] = 1000;
  const at::Tensor scores = dimap_scores(weight, "w");
  EXPECT_EQ(scores[0][7].item<double>(), 1);
  EXPECT_NEAR(scores[0][0].item<double>(), 1e-18, 1e-24);
  // All tails score the same in fp64 next to so large a weight: the lowest positions go first.
  const at::Tensor keep = masks({weight}, 0.3)[0];
  EXPECT_EQ(keep.narrow(1, 0, 7).sum().item<int64_t>(), 0);
  EXPECT_EQ(keep.sum().item<int64_t>(), 700);
}

TEST(ModuleRanking, RefusesWhatHasNoRank) {
  at::Tensor weight = wave(3, 3, 1.0);
  EXPECT_THROW(masks({weight}, 1.0), UserError);
  EXPECT_THROW(masks({weight}, -0.1), UserError);
  weight[1][1] = std::numeric_limits<float>::quiet_NaN();
  try {
    dimap_scores(weight, "blocks.2.mlp.fc1.weight");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("blocks.2.mlp.fc1.weight"), std::string::npos);
  }
}

}  // namespace
}  // namespace espalier::module_ranking_test
