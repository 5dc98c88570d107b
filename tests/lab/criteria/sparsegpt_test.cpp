#include "espalier/lab/criteria/sparsegpt.h"

#include <ATen/Parallel.h>

#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/repair/obs.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

struct Layer {
  at::Tensor weight, gram, hessian;
};

// Correlated inputs, as activations are.
Layer make_layer(int64_t out, int64_t in, int64_t tokens, uint64_t seed) {
  at::manual_seed(seed);
  const auto x = at::randn({tokens, in}).matmul(at::randn({in, in}) / std::sqrt(in)) + at::randn({tokens, 1});
  GramAccumulator gram(in, "layer");
  gram.add(x);
  return {at::randn({out, in}), gram.gram(), gram.hessian()};
}

// The published algorithm as its formulas stand, column by column in fp64, with the inverse formed explicitly.
SparseGptResult reference(const Layer& layer, double sparsity, int64_t block, double damp) {
  auto w = layer.weight.to(at::kDouble);
  auto h = layer.hessian.to(at::kDouble).clone();
  h.diagonal().add_(damp * h.diagonal().mean().item<double>());
  const auto u = at::linalg_cholesky(at::linalg_inv(h)).t();
  const int64_t out = w.size(0), in = w.size(1);
  auto keep = at::ones({out, in}, at::kBool);
  for (int64_t a = 0; a < in; a += block) {
    const int64_t b = std::min(in, a + block);
    const auto scores = (w.slice(1, a, b) / u.diagonal().slice(0, a, b)).square().flatten();
    const auto k = static_cast<int64_t>(sparsity * static_cast<double>(scores.numel()) + 1e-9);
    const auto order = std::get<1>(at::sort(scores, true, 0, false));
    keep.slice(1, a, b).copy_(
        at::ones({out * (b - a)}, at::kBool).scatter(0, order.narrow(0, 0, k), false).reshape({out, b - a}));
    auto errors = at::zeros({out, b - a}, at::kDouble);
    for (int64_t j = a; j < b; ++j) {
      const auto q = w.select(1, j) * keep.select(1, j);
      const auto e = (w.select(1, j) - q) / u[j][j];
      w.slice(1, j, b).sub_(at::outer(e, u[j].slice(0, j, b)));
      w.select(1, j).copy_(q);
      errors.select(1, j - a).copy_(e);
    }
    if (b < in) w.slice(1, b).sub_(errors.matmul(u.slice(0, a, b).slice(1, b)));
  }
  return {w, keep};
}

TEST(SparseGpt, EqualsTheFormulas) {
  const auto layer = make_layer(24, 300, 500, 1);
  for (const int64_t block : {64, 128, 300, 1000}) {
    const auto found = sparsegpt(layer.weight, layer.hessian, {.sparsity = 0.6, .block = block}, "layer");
    const auto expected = reference(layer, 0.6, block, 0.01);
    EXPECT_TRUE(at::equal(found.keep, expected.keep)) << block;
    EXPECT_TRUE(at::allclose(found.weight.to(at::kDouble), expected.weight, 1e-3, 1e-4)) << block;
  }
}

TEST(SparseGpt, UpdateBeatsTheSameMaskWithoutIt) {
  const auto layer = make_layer(32, 256, 400, 2);
  for (const double sparsity : {0.1, 0.5, 0.9}) {
    const auto [weight, keep] = sparsegpt(layer.weight, layer.hessian, {.sparsity = sparsity}, "layer");
    const double updated = output_error(layer.weight, weight, layer.gram);
    EXPECT_LT(updated, 0.8 * output_error(layer.weight, layer.weight * keep, layer.gram)) << sparsity;
  }
}

TEST(SparseGpt, RemovedCountIsExactInEveryBlock) {
  const auto layer = make_layer(10, 70, 100, 3);
  for (int tenth = 0; tenth < 10; ++tenth) {
    const auto [weight, keep] =
        sparsegpt(at::ones({10, 70}), layer.hessian, {.sparsity = tenth / 10.0, .block = 32}, "layer");
    EXPECT_EQ((keep.slice(1, 0, 32) == 0).sum().item<int64_t>(), 32 * tenth);
    EXPECT_EQ((keep.slice(1, 64, 70) == 0).sum().item<int64_t>(), 6 * tenth);
    EXPECT_TRUE((weight.masked_select(keep == 0) == 0).all().item<bool>());
  }
}

TEST(SparseGpt, NOfMInEveryGroup) {
  const auto layer = make_layer(12, 96, 200, 4);
  const auto [weight, keep] = sparsegpt(layer.weight, layer.hessian, {.n_of_m = NOfM{3, 8}, .block = 16}, "layer");
  EXPECT_TRUE((keep.reshape({12, 12, 8}).sum(2) == 3).all().item<bool>());
  EXPECT_EQ((weight != 0).sum().item<int64_t>(), 12 * 12 * 3);
  EXPECT_LT(output_error(layer.weight, weight, layer.gram),
            output_error(layer.weight, layer.weight * keep, layer.gram));
}

TEST(SparseGpt, RunsOfARowGoTogether) {
  const auto layer = make_layer(12, 96, 200, 4);
  const auto [weight, keep] = sparsegpt(layer.weight, layer.hessian, {.sparsity = 0.5, .run = 16, .block = 32}, "layer");
  const auto runs = keep.reshape({12, 6, 16});
  EXPECT_TRUE(at::equal(runs.all(2), runs.any(2)));
  // 12 rows · 2 runs in each of three column blocks, half of them.
  EXPECT_TRUE((runs.all(2).reshape({12, 3, 2}).sum(at::IntArrayRef{0, 2}) == 12).all().item<bool>());
  EXPECT_TRUE((weight.masked_select(keep == 0) == 0).all().item<bool>());
  EXPECT_LT(output_error(layer.weight, weight, layer.gram), output_error(layer.weight, layer.weight * keep, layer.gram));
  EXPECT_EQ(sparsegpt_removal(12, 96, {.sparsity = 0.5, .run = 16, .block = 32}, "layer"), 12 * 3 * 16);
}

TEST(SparseGpt, DeadInputsLoseTheirWeights) {
  auto layer = make_layer(6, 40, 100, 5);
  layer.hessian.select(0, 7).zero_();
  layer.hessian.select(1, 7).zero_();
  const auto [weight, keep] = sparsegpt(layer.weight, layer.hessian, {.sparsity = 0.5}, "layer");
  EXPECT_TRUE((weight.select(1, 7) == 0).all().item<bool>());
  EXPECT_FALSE(keep.select(1, 7).any().item<bool>());
}

TEST(SparseGpt, RankDeficientHessianIsDamped) {
  const auto layer = make_layer(8, 128, 10, 6);  // 10 tokens, 128 inputs
  const auto [weight, keep] = sparsegpt(layer.weight, layer.hessian, {}, "layer");
  EXPECT_TRUE(at::isfinite(weight).all().item<bool>());
}

TEST(SparseGpt, DampingIsRaisedThreeTimesAndThenTheLayerNamed) {
  const auto w = at::ones({1, 2});
  // Eigenvalues 1 +- 1.05: damp 0.01 fails, 0.1 is enough.
  const auto slightly = at::tensor({1.0, 1.05, 1.05, 1.0}).reshape({2, 2});
  EXPECT_NO_THROW(sparsegpt(w, slightly, {}, "layer"));
  const auto hopeless = at::tensor({1.0, 20.0, 20.0, 1.0}).reshape({2, 2});
  ESP_EXPECT_USER_ERROR(sparsegpt(w, hopeless, {}, "layers.3.fc"), "layers.3.fc: the Hessian is not positive definite");
}

TEST(SparseGpt, BadInputIsNamed) {
  auto layer = make_layer(2, 12, 30, 7);
  const auto run = [&](SparseGptOptions options) { sparsegpt(layer.weight, layer.hessian, options, "fc"); };
  ESP_EXPECT_USER_ERROR(run({.sparsity = 1.5}), "fc: sparsity");
  ESP_EXPECT_USER_ERROR(run({.n_of_m = NOfM{2, 5}}), "multiple of 5");
  ESP_EXPECT_USER_ERROR(run({.n_of_m = NOfM{2, 4}, .block = 6}), "fc: block");
  ESP_EXPECT_USER_ERROR(run({.run = 4, .block = 6}), "fc: block");
  ESP_EXPECT_USER_ERROR(run({.damp = -1}), "fc: damp");
  layer.hessian[1][2] = std::nan("");
  ESP_EXPECT_USER_ERROR(run({}), "fc: the Hessian of the activations is not finite");
  layer.weight[0][0] = std::numeric_limits<float>::infinity();
  ESP_EXPECT_USER_ERROR(run({}), "fc: the weights are not finite");
}

TEST(SparseGpt, SameBitsForAnyNumberOfThreads) {
  const auto layer = make_layer(200, 64, 100, 8);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = sparsegpt(layer.weight, layer.hessian, {.block = 64}, "layer");
  at::set_num_threads(3);
  const auto three = sparsegpt(layer.weight, layer.hessian, {.block = 64}, "layer");
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one.weight, three.weight));
}

}  // namespace
}  // namespace espalier
