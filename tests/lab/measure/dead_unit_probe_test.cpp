#include "espalier/lab/measure/dead_unit_probe.h"

#include "espalier/lab/torch.h"
#include "tests/structure/test_networks.h"
#include "tests/support.h"

namespace espalier {
namespace {

// stem -> norm -> relu -> c1 -> norm -> relu; the sum with the skip has no rectifier of its own.
TEST(DeadUnitProbe, FindsRectifiersAndWhatFeedsThem) {
  test::Network n = test::residual_network();
  const DeadUnitProbe probe(n.graph, "test");
  ASSERT_EQ(probe.rectifiers().size(), 2u);
  at::manual_seed(1);
  const at::Tensor pictures = at::randn({3, 3, 8, 8});
  at::Tensor keep = at::ones({12, 10, 3, 3}, at::kBool);
  keep[4] = false;
  Weights weights(n.graph);
  const auto counts = probe.count(weights, {pictures.slice(0, 0, 2), pictures.slice(0, 2)}, [&](const std::string& name) { return name == "c1.w" ? keep : at::Tensor(); });
  EXPECT_EQ(counts[0].units, 10 * 64);
  EXPECT_EQ(counts[1].units, 12 * 64);
  EXPECT_EQ(counts[0].samples, 3);
  EXPECT_EQ(counts[0].dead_unfed, 0);
  EXPECT_EQ(counts[1].dead_unfed, counts[1].channel_dead[4].item<int64_t>());
  // Against the outputs: dead units put out 0.
  int64_t zeros = 0;
  Observer observer;
  observer.after = [&](NodeId id, const Node&, std::vector<at::Tensor>& outputs) {
    if (id == probe.rectifiers()[1]) zeros = (outputs[0] == 0).sum().item<int64_t>();
  };
  Interpreter(n.graph, weights).forward(pictures, &observer);
  EXPECT_EQ(counts[1].dead, zeros);
}

TEST(DeadUnitProbe, ASkipFeedsEveryChannel) {
  test::Network n;
  n.input("x", {2, 4, 6, 6});
  const std::string skip = n.conv("x", "skip", {4, 4, 1, 1}), inner = n.conv("x", "inner", {4, 4, 3, 3});
  n.head(n.activation(n.add(skip, inner, "sum"), "relu"), 4);
  const DeadUnitProbe probe(n.graph, "test");
  const at::Tensor none = at::zeros({4, 4, 3, 3}, at::kBool), row = at::ones({4, 4, 1, 1}, at::kBool);
  row[2] = false;
  Weights weights(n.graph);
  const auto masked = [&](bool both) {
    return probe.count(weights, {at::randn({2, 4, 6, 6})}, [&](const std::string& name) { return name == "inner.w" ? none : both && name == "skip.w" ? row : at::Tensor(); })[0];
  };
  EXPECT_EQ(masked(false).dead_unfed, 0);
  const DeadUnits both = masked(true);
  EXPECT_EQ(both.dead_unfed, both.channel_dead[2].item<int64_t>());
}

TEST(DeadUnitProbe, ReadsChannelsOfLinearLayersFromTheLastDim) {
  test::Network n;
  n.input("x", {2, 5, 6});
  n.output(n.activation(n.linear("x", "up", 9, 6), "gelu"));
  n.infer();
  const DeadUnitProbe probe(n.graph, "test");
  Weights weights(n.graph);
  at::manual_seed(2);
  const auto count = probe.count(weights, {at::randn({2, 5, 6})}, [](const std::string&) { return at::Tensor(); })[0];
  EXPECT_EQ(count.units, 45);
  EXPECT_EQ(count.channel_dead.numel(), 9);
}

TEST(DeadUnitProbe, NamesANetworkWithoutRectifiers) {
  test::Network n;
  n.input("x", {2, 6});
  n.output(n.linear("x", "only", 3, 6));
  n.infer();
  EXPECT_THROW(DeadUnitProbe(n.graph, "test"), UserError);
}

}  // namespace
}  // namespace espalier
