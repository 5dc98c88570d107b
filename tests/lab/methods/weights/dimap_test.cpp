// DIMAP on vision transformers: which layers make a module, budgets, and what is refused.
#include <gtest/gtest.h>

#include "espalier/graph/modules.h"
#include "espalier/graph/operator.h"
#include "tests/lab/methods/pictures.h"

namespace espalier {
namespace {

std::vector<std::string> names(const Graph& graph, const std::vector<NodeId>& nodes) {
  std::vector<std::string> list;
  for (NodeId n : nodes) list.push_back(graph.nodes[static_cast<size_t>(n)].name);
  return list;
}

class Modules : public ::testing::TestWithParam<std::pair<const char*, size_t>> {};

// Two blocks each (Swin: four); separate query, key and value count three a block, a packed one one.
TEST_P(Modules, HoldTheLayersOfAllBlocks) {
  const auto [family, qkv_each] = GetParam();
  const test::PictureTrial trial(family);
  const size_t blocks = std::string(family).starts_with("Swin") ? 4 : 2;
  const auto found = find_modules(trial.model.graph);
  EXPECT_EQ(found.qkv.size(), qkv_each * blocks) << fmt::format("{}", fmt::join(names(trial.model.graph, found.qkv), " "));
  EXPECT_EQ(found.projection.size(), blocks) << fmt::format("{}", fmt::join(names(trial.model.graph, found.projection), " "));
  EXPECT_EQ(found.mlp.size(), 2 * blocks) << fmt::format("{}", fmt::join(names(trial.model.graph, found.mlp), " "));
}

INSTANTIATE_TEST_SUITE_P(Families, Modules,
                         ::testing::Values(std::pair("Vit", size_t{3}), std::pair("VitPacked", size_t{1}), std::pair("VitPostNorm", size_t{1}),
                                           std::pair("VitListedPatches", size_t{1}), std::pair("DeitWithTeacher", size_t{3}), std::pair("Swin", size_t{3}),
                                           std::pair("SwinPadded", size_t{3})),
                         [](const auto& info) { return std::string(info.param.first); });

int64_t zeros(const Graph& graph) {
  int64_t count = 0;
  Weights weights(graph);
  for (const auto& parameter : graph.parameters()) count += (weights.get(parameter->name()) == 0).sum().item<int64_t>();
  return count;
}

TEST(Dimap, MeetsABudgetOfTheWholeModel) {
  test::PictureTrial trial("Vit");
  const int64_t before = zeros(trial.model.graph);
  trial.sparsity = 0.5;
  trial.prune("43-dimap");
  const double share = static_cast<double>(zeros(trial.model.graph) - before) / static_cast<double>(trial.model.graph.parameter_count());
  EXPECT_NEAR(share, 0.5, 1e-3);
  EXPECT_NEAR(trial.reached, share, 1e-3);
}

TEST(Dimap, RatioIsOfEachModule) {
  test::PictureTrial trial("VitPacked");
  trial.sparsity = 0;
  trial.options["ratio"] = "0.4";
  trial.prune("43-dimap");
  ASSERT_EQ(trial.findings.at("modules").size(), 3u);
  for (const auto& module : trial.findings.at("modules"))
    EXPECT_EQ(module.at("removed").get<int64_t>(), static_cast<int64_t>(0.4 * module.at("size").get<double>() + 1e-9));
}

TEST(Dimap, ScopesDiffer) {
  std::map<std::string, std::vector<double>> densities;
  for (const char* scope : {"module", "model", "layer"}) {
    test::PictureTrial trial("Vit");
    trial.sparsity = 0;
    trial.options = {{"ratio", "0.5"}, {"scope", scope}};
    trial.prune("43-dimap");
    for (const auto& layer : trial.findings.at("layers")) densities[scope].push_back(layer.at("density").get<double>());
  }
  for (double density : densities["layer"]) EXPECT_NEAR(density, 0.5, 0.01);
  EXPECT_NE(densities["module"], densities["layer"]);
}

TEST(Dimap, CountsFlopsByDensity) {
  test::PictureTrial trial("Vit");
  trial.sparsity = 0.3;
  trial.of = "flops";
  trial.prune("43-dimap");
  EXPECT_NEAR(trial.reached, 0.3, 2e-3);
}

TEST(Dimap, NamesWhatItLookedFor) {
  test::PictureTrial trial("ResNetBasic");
  try {
    trial.prune("43-dimap");
    FAIL();
  } catch (const UserError& error) {
    for (const char* module : {"QKV-M", "PRJ-M", "MLP-M"}) EXPECT_NE(std::string(error.what()).find(module), std::string::npos);
  }
  test::PictureTrial full("Vit");
  full.sparsity = 0.9999;
  EXPECT_THROW(full.prune("43-dimap"), UserError);
}

}  // namespace
}  // namespace espalier
