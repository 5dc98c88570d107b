// Every operator's shapes and cost against numbers worked out by hand, and its refusals.
#include "tests/graph/test_graph.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::TestGraph;

TEST(Ops, LinearPlainAndTransposed) {
  TestGraph g;
  g.input("x", {2, 3, 4});
  g.param("w", {5, 4});
  g.param("b", {5});
  g.param("t", {4, 6});
  g.node("Linear", {"x"}, {"y"}, {{"weight", "w"}, {"bias", "b"}});
  g.node("Linear", {"x"}, {"z"}, {{"weight", "t"}}, {{"transposed", true}});
  g.infer();
  EXPECT_EQ(g.shape("y"), (Shape{2, 3, 5}));
  EXPECT_EQ(g.shape("z"), (Shape{2, 3, 6}));
  const Cost y = cost_of(g.graph, g.graph.nodes[0]), z = cost_of(g.graph, g.graph.nodes[1]);
  EXPECT_EQ(y.flops, 2.0 * 6 * 4 * 5);  // 6 rows
  EXPECT_EQ(y.weight_bytes, 4.0 * (20 + 5));
  EXPECT_EQ(z.flops, 2.0 * 6 * 4 * 6);
  EXPECT_EQ(z.weight_bytes, 4.0 * 24);
}

TEST(Ops, LinearRefusesAnotherWidthNamingTheNode) {
  TestGraph g;
  g.input("x", {1, 3});
  g.param("w", {5, 4});
  g.node("Linear", {"x"}, {"projection"}, {{"weight", "w"}});
  ESP_EXPECT_USER_ERROR(g.infer(), "projection: input width of the weight: expected 3, found [5, 4]");
}

TEST(Ops, LinearRefusesABiasOfAnotherWidth) {
  TestGraph g;
  g.input("x", {1, 4});
  g.param("w", {5, 4});
  g.param("b", {4});
  g.node("Linear", {"x"}, {"y"}, {{"weight", "w"}, {"bias", "b"}});
  ESP_EXPECT_USER_ERROR(g.infer(), "expected [5], found [4]");
}

TEST(Ops, EmbeddingsReadOneRowAToken) {
  TestGraph g;
  g.input("ids", {2, 7});
  g.param("tokens", {11, 6});
  g.param("positions", {12, 6});
  g.node("Embedding", {"ids"}, {"e"}, {{"weight", "tokens"}});
  g.node("PositionEmbedding", {"ids"}, {"p"}, {{"weight", "positions"}}, {{"offset", int64_t{2}}});
  g.node("Add", {"e", "p"}, {"h"});
  g.infer();
  EXPECT_EQ(g.shape("e"), (Shape{2, 7, 6}));
  EXPECT_EQ(g.shape("h"), (Shape{2, 7, 6}));
  EXPECT_EQ(cost_of(g.graph, g.graph.nodes[0]).flops, 0);
  EXPECT_EQ(cost_of(g.graph, g.graph.nodes[0]).weight_bytes, 14.0 * 6 * 4);
  EXPECT_EQ(cost_of(g.graph, g.graph.nodes[1]).weight_bytes, 14.0 * 6 * 4);
  EXPECT_EQ(cost_of(g.graph, g.graph.nodes[2]).flops, 2.0 * 7 * 6);
}

TEST(Ops, PositionEmbeddingRefusesMoreTokensThanPositions) {
  TestGraph g;
  g.input("ids", {1, 11});
  g.param("positions", {12, 6});
  g.node("PositionEmbedding", {"ids"}, {"p"}, {{"weight", "positions"}}, {{"offset", int64_t{2}}});
  ESP_EXPECT_USER_ERROR(g.infer(), "11 tokens, but the model has 10 positions");
}

TEST(Ops, NormsOverTheWidthAndOverHeads) {
  TestGraph g;
  g.input("x", {1, 5, 8});
  for (const char* name : {"w", "b"}) g.param(name, {8});
  for (const char* name : {"hw", "hb"}) g.param(name, {4});
  g.node("LayerNorm", {"x"}, {"l"}, {{"weight", "w"}, {"bias", "b"}}, {{"epsilon", 1e-5}});
  g.node("RMSNorm", {"x"}, {"r"}, {{"weight", "w"}}, {{"epsilon", 1e-5}});
  g.node("RMSNorm", {"x"}, {"qk"}, {{"weight", "hw"}}, {{"epsilon", 1e-5}, {"head_size", int64_t{4}}});
  g.node("LayerNorm", {"x"}, {"qkl"}, {{"weight", "hw"}, {"bias", "hb"}},
         {{"epsilon", 1e-5}, {"head_size", int64_t{4}}});
  g.node("LayerNorm", {"x"}, {"plain"}, {}, {{"epsilon", 1e-5}});
  g.infer();
  for (const char* name : {"l", "r", "qk", "qkl", "plain"}) EXPECT_EQ(g.shape(name), (Shape{1, 5, 8}));
  EXPECT_EQ(cost_of(g.graph, g.graph.nodes[0]).flops, 7.0 * 40);
  EXPECT_EQ(cost_of(g.graph, g.graph.nodes[1]).flops, 4.0 * 40);
  EXPECT_EQ(cost_of(g.graph, g.graph.nodes[2]).weight_bytes, 4.0 * 4);
}

TEST(Ops, NormsRefuseWeightsAndMasksOfAnotherWidth) {
  TestGraph g;
  g.input("x", {1, 5, 8});
  g.param("w", {7});
  g.node("RMSNorm", {"x"}, {"n"}, {{"weight", "w"}}, {{"epsilon", 1e-5}});
  ESP_EXPECT_USER_ERROR(g.infer(), "n: weight: expected [8], found [7]");
  g.graph.nodes[0].params = {{"mask", "w"}};
  ESP_EXPECT_USER_ERROR(g.infer(), "n: mask: expected [8], found [7]");
  g.graph.nodes[0].params = {};
  g.graph.nodes[0].attributes["head_size"] = int64_t{3};
  ESP_EXPECT_USER_ERROR(g.infer(), "a multiple of the head size 3");
}

TEST(Ops, AttentionCountsScoresAndMixing) {
  TestGraph g;
  g.input("q", {1, 5, 16});
  g.input("k", {1, 5, 8});
  g.input("v", {1, 5, 8});
  g.node("Attention", {"q", "k", "v"}, {"a"}, {}, {{"head_size", int64_t{4}}, {"scale", 0.5}});
  g.infer();
  EXPECT_EQ(g.shape("a"), (Shape{1, 5, 16}));
  // 4 heads, each 5 x 5 scores of 4 multiply-adds, and as many again to mix the values
  EXPECT_EQ(g.cost().flops, 4.0 * (5 * 5 * 4 * 2) * 2);
  EXPECT_EQ(g.cost().weight_bytes, 0);
}

TEST(Ops, AttentionRefusesHeadsThatDoNotFit) {
  auto error_with = [](int64_t q, int64_t k, int64_t v, const char* fragment) {
    TestGraph g;
    g.input("q", {1, 5, q});
    g.input("k", {1, 5, k});
    g.input("v", {1, 5, v});
    g.node("Attention", {"q", "k", "v"}, {"a"}, {}, {{"head_size", int64_t{4}}, {"scale", 0.5}});
    ESP_EXPECT_USER_ERROR(g.infer(), fragment);
  };
  error_with(18, 8, 8, "a multiple of the head size 4");
  error_with(16, 8, 4, "width of v");
  error_with(12, 8, 8, "a multiple of the 2 KV heads, found 3");
  error_with(16, 0, 0, "a multiple of the head size 4");
}

TEST(Ops, ElementwiseOperators) {
  TestGraph g;
  g.input("x", {1, 5, 8});
  g.param("gate", {8});
  g.node("Activation", {"x"}, {"a"}, {}, {{"kind", std::string("silu")}});
  g.node("Mul", {"x", "a"}, {"m"});
  g.node("Gate", {"m"}, {"g"}, {{"gate", "gate"}});
  g.node("RotaryEmbedding", {"g"}, {"r"}, {},
         {{"head_size", int64_t{4}}, {"scale", 1.0}, {"inverse_frequency", std::vector<double>{1, 0.1}}});
  g.infer();
  for (const char* name : {"a", "m", "g", "r"}) EXPECT_EQ(g.shape(name), (Shape{1, 5, 8}));
  EXPECT_EQ(g.cost().flops, 40.0 * (8 + 1 + 1 + 3));
  EXPECT_EQ(g.cost().weight_bytes, 4.0 * 8);
}

TEST(Ops, BinaryOperatorsRefuseTwoShapes) {
  TestGraph g;
  g.input("x", {1, 5, 8});
  g.input("y", {1, 5, 7});
  g.node("Add", {"x", "y"}, {"sum"});
  ESP_EXPECT_USER_ERROR(g.infer(), "sum: second input: expected [1, 5, 8], found [1, 5, 7]");
}

TEST(Ops, SplitMakesItsParts) {
  TestGraph g;
  g.input("x", {1, 5, 8});
  g.node("Split", {"x"}, {"a", "b", "c"}, {}, {{"sizes", std::vector<int64_t>{4, 3, 1}}});
  g.infer();
  EXPECT_EQ(g.shape("a"), (Shape{1, 5, 4}));
  EXPECT_EQ(g.shape("b"), (Shape{1, 5, 3}));
  EXPECT_EQ(g.shape("c"), (Shape{1, 5, 1}));
  EXPECT_EQ(g.cost().flops, 0);
  g.graph.nodes[0].attributes["sizes"] = std::vector<int64_t>{4, 3, 2};
  ESP_EXPECT_USER_ERROR(g.infer(), "a: width: expected 9, found [1, 5, 8]");
}

TEST(Ops, SizeOfADecoderPerToken) {
  TestGraph g;
  g.input("ids", {1, 1});
  g.param("e", {11, 6});
  g.param("w", {6, 6});
  g.node("Embedding", {"ids"}, {"h"}, {{"weight", "e"}});
  g.node("Linear", {"h"}, {"p"}, {{"weight", "w"}});
  g.node("Linear", {"p"}, {"y"}, {{"weight", "e"}});
  g.output("y");
  const Size size = measure_size(g.graph, 16);
  EXPECT_EQ(size.params, 66 + 36);  // the shared parameter once
  EXPECT_EQ(size.bytes, 4u * 102);
  EXPECT_EQ(size.flops, 2.0 * (36 + 66));
}

}  // namespace
}  // namespace espalier
