#include "espalier/lab/criteria/masks.h"

#include <ATen/Parallel.h>

#include "espalier/lab/criteria/magnitude.h"
#include "espalier/lab/criteria/wanda.h"
#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

at::Tensor normal(at::IntArrayRef sizes, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(sizes);
}

// The k smallest of a vector by ATen's stable sort.
at::Tensor sorted_mask(const at::Tensor& scores, int64_t k) {
  const auto order = std::get<1>(at::sort(scores, /*stable=*/true, -1, /*descending=*/false));
  return at::ones_like(scores, at::kBool).scatter(-1, order.narrow(-1, 0, k), false);
}

TEST(Masks, RowsLoseExactlyTheirShareForEverySparsity) {
  const auto equal = at::full({5, 30}, 0.25);
  for (int tenth = 0; tenth < 10; ++tenth) {
    for (const Scope scope : {Scope::kRow, Scope::kLayer}) {
      const Pattern pattern{.sparsity = tenth / 10.0, .scope = scope};
      const auto mask = magnitude_mask(equal, pattern, "w");
      EXPECT_EQ((mask == 0).sum().item<int64_t>(), 15 * tenth);
      if (scope == Scope::kLayer) continue;
      EXPECT_TRUE(((mask == 0).sum(1) == 3 * tenth).all().item<bool>());
    }
  }
}

TEST(Masks, MagnitudeEqualsAStableSort) {
  const auto w = (normal({7, 3000}, 1) * 4).round();  // ties everywhere
  EXPECT_TRUE(at::equal(magnitude_mask(w, {.sparsity = 0.4}, "w"), sorted_mask(w.abs(), 1200)));
  const auto layer = magnitude_mask(w, {.sparsity = 0.4, .scope = Scope::kLayer}, "w");
  EXPECT_TRUE(at::equal(layer.flatten(), sorted_mask(w.abs().flatten(), 8400)));
}

TEST(Masks, ConvolutionsAreMatrices) {
  const auto w = normal({4, 3, 3, 3}, 2);
  const auto mask = magnitude_mask(w, {.sparsity = 0.5}, "conv");
  EXPECT_EQ(mask.sizes(), (at::IntArrayRef{4, 27}));
  EXPECT_TRUE(((mask == 0).sum(1) == 13).all().item<bool>());
}

TEST(Masks, PatternsThatCannotBeMetAreTheUsersError) {
  const auto w = normal({2, 6}, 3);
  ESP_EXPECT_USER_ERROR(magnitude_mask(w, {.sparsity = 1.0}, "model.fc"), "model.fc: sparsity");
  ESP_EXPECT_USER_ERROR(magnitude_mask(w, {.n_of_m = NOfM{2, 4}}, "model.fc"), "expected a multiple of 4, found 6");
  ESP_EXPECT_USER_ERROR(magnitude_mask(w, {.n_of_m = NOfM{3, 3}}, "model.fc"), "1 <= n < m");
  ESP_EXPECT_USER_ERROR(magnitude_mask(w * std::nan(""), {}, "model.fc"), "model.fc");
}

TEST(Masks, BlocksByHand) {
  // Sums of |w| over pairs: 3, 2, 4 | 2, 9, 1. Of six pairs the three smallest go; of the two 2s the earlier one first.
  const auto w = at::tensor({1.0f, -2.0f, 2.0f, 0.0f, 0.0f, 4.0f, 1.0f, 1.0f, -9.0f, 0.0f, 0.5f, 0.5f}).reshape({2, 6});
  const auto layer = magnitude_mask(w, {.sparsity = 0.5, .scope = Scope::kLayer, .block = 2}, "w");
  EXPECT_TRUE(at::equal(layer, at::tensor({1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0}).reshape({2, 6}).to(at::kBool)));
  const auto two = magnitude_mask(w, {.sparsity = 0.34, .scope = Scope::kLayer, .block = 2}, "w");
  EXPECT_TRUE(at::equal(two, at::tensor({1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0}).reshape({2, 6}).to(at::kBool)));
  const auto rows = magnitude_mask(w, {.sparsity = 0.34, .block = 2}, "w");
  EXPECT_TRUE(at::equal(rows, at::tensor({1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0}).reshape({2, 6}).to(at::kBool)));
}

TEST(Masks, BlocksGoWholeAndExactlyAsManyAsAsked) {
  for (const Scope scope : {Scope::kRow, Scope::kLayer})
    for (const auto& w : {normal({10, 160}, 8), at::full({10, 160}, 0.25)})
      for (int tenth = 0; tenth < 10; ++tenth) {
        const auto mask = magnitude_mask(w, {.sparsity = tenth / 10.0, .scope = scope, .block = 16}, "w").reshape({10, 10, 16});
        EXPECT_TRUE(at::equal(mask.all(2), mask.any(2)));
        EXPECT_EQ((mask.all(2) == 0).sum().item<int64_t>(), 10 * tenth);
        if (scope == Scope::kRow) {
          EXPECT_TRUE(((mask.all(2) == 0).sum(1) == tenth).all().item<bool>());
        }
      }
  ESP_EXPECT_USER_ERROR(magnitude_mask(normal({2, 24}, 9), {.block = 16}, "model.fc"), "expected a multiple of 16 for blocks, found 24");
}

TEST(Masks, RandomDependsOnSeedAndNameOnly) {
  const auto w = normal({8, 64}, 4);
  const auto one = random_mask(w, {}, 1, "a");
  EXPECT_TRUE(at::equal(one, random_mask(w * 2, {}, 1, "a")));
  EXPECT_FALSE(at::equal(one, random_mask(w, {}, 2, "a")));
  EXPECT_FALSE(at::equal(one, random_mask(w, {}, 1, "b")));
  EXPECT_TRUE(((one == 0).sum(1) == 32).all().item<bool>());
}

TEST(Wanda, MaskEqualsItsScoresSorted) {
  const auto w = normal({16, 4096}, 5), x = normal({100, 4096}, 6);
  ColumnNorms norms(4096, "w");
  norms.add(x);
  EXPECT_TRUE(at::allclose(norms.norms(), x.to(at::kDouble).norm(2, 0).to(at::kFloat), 1e-6));
  const auto scores = wanda_scores(w, norms.norms(), "w");
  EXPECT_TRUE(at::equal(wanda_mask(w, norms.norms(), {}, "w"), sorted_mask(scores, 2048)));
}

TEST(Wanda, SameMaskForAnyNumberOfThreads) {
  const auto w = normal({64, 2100}, 7), x = normal({50, 2100}, 8);
  const int before = at::get_num_threads();
  std::vector<at::Tensor> masks;
  for (const int threads : {1, 2, 5}) {
    at::set_num_threads(threads);
    ColumnNorms norms(2100, "w");
    norms.add(x);
    masks.push_back(wanda_mask(w, norms.norms(), {.sparsity = 0.37}, "w"));
  }
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(masks[0], masks[1]));
  EXPECT_TRUE(at::equal(masks[0], masks[2]));
}

TEST(Wanda, ChannelScoreIsColumnNormTimesInputNorm) {
  const auto w = at::tensor({3.0f, 1.0f, 4.0f, 0.0f}).reshape({2, 2}), c = at::tensor({2.0f, 7.0f});
  EXPECT_TRUE(at::equal(wanda_channel_scores(w, c, "w"), at::tensor({10.0f, 7.0f})));
}

TEST(Wanda, BadNormsAreNamed) {
  const auto w = normal({2, 4}, 9);
  ESP_EXPECT_USER_ERROR(wanda_mask(w, at::ones({3}), {}, "fc2"), "fc2: column norms: expected 4 inputs, found 3");
  const float infinity = std::numeric_limits<float>::infinity();
  ESP_EXPECT_USER_ERROR(wanda_mask(w, at::full({4}, infinity), {}, "fc2"), "fc2: the column norms");
}

}  // namespace
}  // namespace espalier
