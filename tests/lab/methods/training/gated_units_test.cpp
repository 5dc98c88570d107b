// What gates can switch, and that a cut network computes what the gated one did.
#include "espalier/lab/methods/training/gated_units.h"

#include <gtest/gtest.h>

#include "espalier/lab/methods/training/consensus_gates.h"
#include "espalier/lab/torch.h"
#include "tests/families/vision_models.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier {
namespace {

at::Tensor forward(const Graph& graph, const at::Tensor& x, const Observer* observer = nullptr) {
  Weights weights(graph);
  return Interpreter(graph, weights).forward(x, observer);
}

// Gates that say for every input what `keep` says.
Observer constant(const std::vector<GatedSite>& sites, const std::vector<at::Tensor>& keep) {
  return gating_observer(sites, [keep](size_t s, const at::Tensor& input) { return keep[s].to(at::kFloat).unsqueeze(0).expand({input.size(0), -1}); });
}

TEST(GatedUnits, ABranchIsWhatTheSumWouldDoWithout) {
  const test::Network n = test::residual_network();
  const auto sites = find_gated_branches(n.graph, {{2, 3, 8, 8}});
  ASSERT_EQ(sites.size(), 1u);
  EXPECT_EQ(sites[0].name, "sum");
  EXPECT_EQ(sites[0].channels, 10);
  EXPECT_EQ(sites[0].cost, 2 * 64 * (12 * 10 * 9 + 10 * 12 * 9));
}

TEST(GatedUnits, AClosedBranchCutIsTheSame) {
  test::Network n = test::residual_network();
  const auto sites = find_gated_branches(n.graph, {{2, 3, 8, 8}});
  const std::vector<at::Tensor> keep = {at::zeros({1}, at::kBool)};
  const at::Tensor x = at::sin(at::arange(2 * 3 * 64, at::kFloat)).view({2, 3, 8, 8});
  const Observer gates = constant(sites, keep);
  const at::Tensor gated = forward(n.graph, x, &gates);
  Model model;
  model.graph = n.graph.clone();
  cut_gated_units(model, sites, keep, {});
  model.graph.check();
  EXPECT_FALSE(model.graph.has_parameter("c2.w"));
  EXPECT_LT((gated - forward(model.graph, x)).abs().max().item<double>(), 1e-4);
}

TEST(GatedUnits, ClosedChannelsCutAreTheSame) {
  for (test::Network (*make)() : {test::residual_network, test::depthwise_network}) {
    const test::Network n = make();
    const Coupling coupling = find_coupling(n.graph);
    const auto sites = find_gated_channels(n.graph, {{2, 3, 8, 8}}, coupling);
    ASSERT_EQ(sites.size(), 1u);
    at::Tensor keep = at::ones({sites[0].gates}, at::kBool);
    keep[0] = false;
    keep[3] = false;
    const at::Tensor x = at::sin(at::arange(2 * 3 * 64, at::kFloat)).view({2, 3, 8, 8});
    const Observer gates = constant(sites, {keep});
    const at::Tensor gated = forward(n.graph, x, &gates);
    Model model;
    model.graph = n.graph.clone();
    cut_gated_units(model, sites, {keep}, coupling);
    EXPECT_LT((gated - forward(model.graph, x)).abs().max().item<double>(), 1e-4 * std::max(1.0, gated.abs().max().item<double>()));
    EXPECT_LT(model.graph.parameter_count(), n.graph.parameter_count());
  }
}

// Through a file and back: the blocks that are gone are named in the configuration.
TEST(GatedUnits, AResNetWithoutSomeBlocksCanBeStored) {
  test::TempDir dir;
  Json config = {{"model_type", "resnet-cifar"}, {"layers", {3, 3}}, {"widths", {4, 6}}, {"image_size", 16}, {"num_classes", 5}};
  Model model = test::load_tiny_vision(dir / "model", config);
  const std::vector<Shape> shapes = {{1, 3, 16, 16}};
  const auto sites = find_gated_branches(model.graph, shapes);
  ASSERT_EQ(sites.size(), 5u);  // all but the first of the second stage
  std::vector<at::Tensor> keep(5, at::ones({1}, at::kBool));
  keep[1] = keep[4] = at::zeros({1}, at::kBool);
  cut_gated_units(model, sites, keep, {});
  Json stored = config;
  model.family->write_config(stored, model.graph);
  EXPECT_EQ(stored.at("espalier").at("removed"), Json({"layer1.1", "layer2.2"}));
}

}  // namespace
}  // namespace espalier
