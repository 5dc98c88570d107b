// Beta-Rank and PreCropping as methods.
#include <gtest/gtest.h>

#include <fstream>

#include "espalier/lab/tensor_bridge.h"
#include "tests/lab/methods/pictures.h"

namespace espalier {
namespace {

int64_t filters(const test::PictureTrial& trial, const std::string& layer) { return trial.model.graph.parameter(layer + ".weight").shape()[0]; }

TEST(BetaRankMethod, PrunesFreeLayersByOneRate) {
  test::PictureTrial trial("ResNetCifar");
  const int64_t inner = filters(trial, "layer1.0.conv1"), stage = filters(trial, "layer1.0.conv2");
  trial.sparsity = 0;
  trial.options = {{"ratio", "0.4"}, {"batch", "16"}};
  trial.prune("30-beta-rank");
  EXPECT_EQ(filters(trial, "layer1.0.conv1"), static_cast<int64_t>(inner * 0.6 + 1e-9));
  EXPECT_EQ(filters(trial, "layer1.0.conv2"), stage);
  EXPECT_GT(trial.reached, 0);
}

TEST(BetaRankMethod, StagesShareOneSet) {
  test::PictureTrial trial("ResNetCifar");
  const int64_t stage = filters(trial, "conv1");
  trial.sparsity = 0;
  trial.options = {{"ratio", "0.5"}, {"batch", "16"}, {"stages", "true"}};
  trial.prune("30-beta-rank");
  EXPECT_LT(filters(trial, "conv1"), stage);
  EXPECT_EQ(filters(trial, "conv1"), filters(trial, "layer1.0.conv2"));
}

TEST(BetaRankMethod, TakesRatesOfSingleLayers) {
  test::PictureTrial trial("VggBatchNormCifar");
  trial.sparsity = 0;
  trial.options = {{"ratio", "0"}, {"ratios", "features.0:0.5"}, {"ranking", "l1"}};
  const int64_t first = filters(trial, "features.0"), second = filters(trial, "features.4");
  trial.prune("30-beta-rank");
  EXPECT_EQ(filters(trial, "features.0"), first / 2);
  EXPECT_EQ(filters(trial, "features.4"), second);
}

TEST(BetaRankMethod, RescalesKeptFilters) {
  test::PictureTrial plain("VggBatchNormCifar"), scaled("VggBatchNormCifar");
  for (auto* trial : {&plain, &scaled}) {
    trial->sparsity = 0;
    trial->options = {{"ratio", "0.5"}, {"batch", "16"}};
  }
  scaled.options["rescale"] = "true";
  plain.prune("30-beta-rank");
  scaled.prune("30-beta-rank");
  const auto ranks = scaled.findings.at("ranks").at("features.0").get<std::vector<double>>();
  const at::Tensor a = to_torch(plain.model.graph.parameter("features.0.weight").load()), b = to_torch(scaled.model.graph.parameter("features.0.weight").load());
  const auto* kept = plain.model.graph.parameter("features.0.weight").kept(0);
  ASSERT_NE(kept, nullptr);
  for (size_t i = 0; i < kept->size(); ++i)
    EXPECT_TRUE(at::allclose(b[static_cast<int64_t>(i)], a[static_cast<int64_t>(i)] * (1 + ranks[static_cast<size_t>((*kept)[i])]), 1e-5));
}

TEST(BetaRankMethod, RefusesNonsense) {
  test::PictureTrial trial("ResNetCifar");
  trial.options = {{"batch", "1"}};
  EXPECT_NE(message_of(trial, "30-beta-rank").find("at least 2"), std::string::npos);
  trial.sparsity = 0;
  trial.options = {{"ratio", "1"}, {"ranking", "l1"}};
  EXPECT_NE(message_of(trial, "30-beta-rank"), "");
  trial.options = {{"ratio", "0.1"}, {"ratios", "layer1*"}, {"ranking", "l1"}};
  EXPECT_NE(message_of(trial, "30-beta-rank").find("PATTERN:RATE"), std::string::npos);
  trial.sparsity = 0.99;
  trial.options = {{"ranking", "l1"}};
  EXPECT_NE(message_of(trial, "30-beta-rank").find("stages=true"), std::string::npos);
}

class PreCropping : public ::testing::TestWithParam<const char*> {};

TEST_P(PreCropping, SpendsItsBudget) {
  for (double sparsity : {0.5, 0.75}) {
    for (const char* density : {"expectation", "synflow"}) {
      test::PictureTrial trial(GetParam());
      const int64_t dense = trial.model.graph.parameter_count();
      trial.sparsity = sparsity;
      trial.options = {{"density", density}, {"rounds", "10"}};
      trial.prune("35-precropping");
      const double left = static_cast<double>(trial.model.graph.parameter_count()) / static_cast<double>(dense);
      EXPECT_LE(left, 1 - sparsity) << density;
      EXPECT_GT(left, (1 - sparsity) * 0.85) << density;  // these nets are tiny: one channel is much
      EXPECT_TRUE(at::isfinite(trial.logits(trial.model.graph)).all().item<bool>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, PreCropping, ::testing::Values("ResNetCifar", "ResNetCifarB", "MobileNetV2", "VggBatchNormCifar", "ShuffleNet"));

TEST(PreCroppingMethod, KeepsTwoBudgetsAtOnce) {
  test::PictureTrial trial("ResNetCifarB");
  const Model dense = load_model(trial.directory / "model");
  trial.sparsity = 0.4;
  trial.options = {{"also", "0.6"}};
  trial.prune("35-precropping");
  const Size now = model_size(trial.model.graph, trial.model), before = model_size(dense.graph, dense);
  EXPECT_LE(static_cast<double>(now.params), 0.6 * static_cast<double>(before.params));
  EXPECT_LE(now.flops, 0.4 * before.flops);
}

TEST(PreCroppingMethod, BlockwiseKeepsStages) {
  test::PictureTrial trial("ResNetCifar");
  const int64_t stage = filters(trial, "conv1"), inner = filters(trial, "layer1.0.conv1");
  trial.options = {{"blockwise", "true"}};
  trial.sparsity = 0.3;
  trial.prune("35-precropping");
  EXPECT_EQ(filters(trial, "conv1"), stage);
  EXPECT_LT(filters(trial, "layer3.1.conv1"), 16);
  EXPECT_LE(filters(trial, "layer1.0.conv1"), inner);
}

TEST(PreCroppingMethod, WidensFirst) {
  test::PictureTrial trial("VggBatchNormCifar");
  const int64_t dense = trial.model.graph.parameter_count();
  trial.options = {{"widen", "2"}};
  trial.sparsity = 0;
  trial.prune("35-precropping");
  EXPECT_LE(trial.model.graph.parameter_count(), dense);
  EXPECT_GT(trial.model.graph.parameter_count(), dense * 85 / 100);
}

TEST(PreCroppingMethod, InitialisesByTheNewFanIn) {
  test::PictureTrial trial("VggBatchNormCifar");
  trial.sparsity = 0.3;
  trial.prune("35-precropping");
  double sum = 0, count = 0;
  for (const auto& parameter : trial.model.graph.parameters()) {
    if (parameter->shape().size() != 4) continue;
    const at::Tensor w = to_torch(parameter->load());
    sum += (w.square() * static_cast<double>(w.numel() / w.size(0)) / 2).sum().item<double>();
    count += static_cast<double>(w.numel());
  }
  EXPECT_NEAR(sum / count, 1, 0.15);  // variance 2 / fan-in
  test::PictureTrial again("VggBatchNormCifar");
  again.sparsity = 0.3;
  again.prune("35-precropping");
  EXPECT_TRUE(at::equal(trial.logits(trial.model.graph), again.logits(again.model.graph)));
}

TEST(PreCroppingMethod, RefusesBudgetsOutOfReach) {
  test::PictureTrial trial("VggBatchNormCifar");
  trial.sparsity = 0.999;
  EXPECT_NE(message_of(trial, "35-precropping").find("at least 0."), std::string::npos);
  trial.sparsity = 0.5;
  std::ofstream(trial.directory / "densities.json") << R"({"features.0": -0.5})";
  trial.options = {{"densities", (trial.directory / "densities.json").string()}};
  EXPECT_NE(message_of(trial, "35-precropping").find("features.0"), std::string::npos);
}

}  // namespace
}  // namespace espalier
