#include "espalier/lab/allocation/global_magnitude.h"

#include <chrono>

#include "espalier/lab/allocation/min_keep_rates.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::vector<LayerWeights> layers_of(const std::vector<at::Tensor>& weights) {
  std::vector<LayerWeights> layers;
  for (const auto& w : weights) layers.push_back({fmt::format("w{}", layers.size()), w.numel(), [w] { return w; }});
  return layers;
}

std::vector<at::Tensor> masks(const std::vector<at::Tensor>& weights, const GlobalCut& cut) {
  std::vector<at::Tensor> result;
  for (size_t i = 0; i < weights.size(); ++i) result.push_back(magnitude_cut_mask(weights[i], cut.cuts[i]).flatten());
  return result;
}

// The rule as written: protect each layer's largest, then one stable sort of everything else.
at::Tensor reference(const std::vector<at::Tensor>& weights, int64_t k, int64_t min_keep) {
  std::vector<at::Tensor> flat;
  for (const auto& w : weights) {
    auto values = w.flatten().abs().to(at::kDouble);
    const int64_t protect = std::min(min_keep, values.numel());
    const auto order = std::get<1>(at::sort(values, /*stable=*/true, 0, false));
    values.index_fill_(0, order.slice(0, values.numel() - protect), std::numeric_limits<double>::infinity());
    flat.push_back(values);
  }
  const auto all = at::cat(flat);
  const auto order = std::get<1>(at::sort(all, /*stable=*/true, 0, false));
  return at::ones({all.numel()}, at::kBool).index_fill(0, order.slice(0, 0, k), false);
}

std::vector<at::Tensor> tied_weights(uint64_t seed) {
  at::manual_seed(seed);
  std::vector<at::Tensor> weights;
  for (const auto& [rows, cols, scale] : {std::tuple{30, 20, 1.0}, {5, 4, 0.1}, {40, 3, 2.0}, {1, 2, 0.5}}) {
    weights.push_back((at::randn({rows, cols}) * scale * 4).round() / 4);
  }
  return weights;
}

TEST(GlobalMagnitude, EqualsASortOfAllWeights) {
  const auto weights = tied_weights(1);
  for (int tenth = 0; tenth < 10; ++tenth) {
    for (const int64_t min_keep : {0, 1, 3, 7}) {
      const auto cut = global_magnitude(layers_of(weights), tenth / 10.0, min_keep);
      EXPECT_EQ(cut.removed, 742 * tenth / 10);
      const auto found = at::cat(masks(weights, cut));
      EXPECT_TRUE(at::equal(found, reference(weights, cut.removed, min_keep))) << tenth << " " << min_keep;
      for (size_t i = 0; i < weights.size(); ++i) {
        const int64_t kept = masks(weights, cut)[i].sum().item<int64_t>();
        EXPECT_EQ(kept, cut.layer_size[i] - cut.layer_removed[i]);
        EXPECT_GE(kept, std::min(min_keep, weights[i].numel()));
      }
    }
  }
}

TEST(GlobalMagnitude, EqualValuesLoseExactlyTheShareFromTheFront) {
  const std::vector<at::Tensor> weights = {at::full({7, 10}, -1.0), at::full({30}, 1.0)};
  for (int tenth = 0; tenth < 10; ++tenth) {
    const auto cut = global_magnitude(layers_of(weights), tenth / 10.0);
    const auto keep = at::cat(masks(weights, cut));
    EXPECT_EQ((keep == 0).sum().item<int64_t>(), 10 * tenth);
    EXPECT_TRUE(keep.slice(0, 10 * tenth).all().item<bool>());
  }
}

TEST(GlobalMagnitude, ThresholdIsTheLargestRemoved) {
  const std::vector<at::Tensor> weights = {at::tensor({3.0f, -1.0f, 2.0f, 4.0f})};
  EXPECT_EQ(global_magnitude(layers_of(weights), 0.5).threshold, 2);
  EXPECT_EQ(global_magnitude(layers_of(weights), 0.2).threshold, -1);  // k = 0
  EXPECT_DOUBLE_EQ(global_magnitude(layers_of(weights), 0.5).density(0), 0.5);
}

TEST(GlobalMagnitude, MistakesAreDistinct) {
  const std::vector<at::Tensor> weights = {at::ones({10}), at::ones({10})};
  ESP_EXPECT_USER_ERROR(global_magnitude(layers_of(weights), 1.0), "sparsity: expected a number in [0, 1)");
  ESP_EXPECT_USER_ERROR(global_magnitude(layers_of(weights), -0.1), "found -0.1");
  ESP_EXPECT_USER_ERROR(global_magnitude({}, 0.5), "no prunable tensor");
  ESP_EXPECT_USER_ERROR(global_magnitude(layers_of(weights), 0.9, 2), "min_keep");
  ESP_EXPECT_USER_ERROR(global_magnitude(layers_of(weights), 0.5, -1), "min_keep: expected at least 0");
  weights[1][4] = std::nan("");
  ESP_EXPECT_USER_ERROR(global_magnitude(layers_of(weights), 0.5), "w1: the value at position 4");
  EXPECT_EQ(min_keep_from_percent(12345, 0.05), 6);
}

TEST(GlobalMagnitude, TenMillionWeightsInUnderThreeSeconds) {
  at::manual_seed(2);
  std::vector<at::Tensor> weights;
  for (int i = 0; i < 10; ++i) weights.push_back(at::randn({1000, 1000}));
  const auto start = std::chrono::steady_clock::now();
  const auto cut = global_magnitude(layers_of(weights), 0.9, 500);
  int64_t kept = 0;
  for (const auto& mask : masks(weights, cut)) kept += mask.sum().item<int64_t>();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(kept, 1000000);
  EXPECT_LT(seconds, 3.0);
  RecordProperty("seconds", std::to_string(seconds));
}

TEST(MinKeepRates, ReachesTheTargetOrSaysNot) {
  const auto reached = refine_rates({100, 10}, {0.5, 1.0}, 0.55, 2);
  EXPECT_TRUE(reached.converged);
  EXPECT_NEAR(reached.overall, 0.55, 1e-9);
  EXPECT_DOUBLE_EQ(reached.sparsity[1], 0.8);
  const auto impossible = refine_rates({10, 10}, {0.9, 0.9}, 0.9, 5);
  EXPECT_FALSE(impossible.converged);
  EXPECT_EQ(impossible.sparsity, (std::vector<double>{0.5, 0.5}));
  const auto untouched = refine_rates({10, 3}, {0.0, 0.0}, 0.0, 5);
  EXPECT_EQ(untouched.sparsity, (std::vector<double>{0, 0}));
  EXPECT_TRUE(untouched.converged);
  EXPECT_EQ(layer_removal(0.3, 10), 3);
  EXPECT_EQ(layer_removal(1.5, 10), 10);
}

}  // namespace
}  // namespace espalier
