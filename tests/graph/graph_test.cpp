#include "espalier/graph/graph.h"

#include "tests/graph/test_graph.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::TestGraph;

Parameter counted(Shape shape) {
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Parameter("w", Tensor::from_floats(std::move(shape), values));
}

TEST(ParameterTest, UncutLoadsWithoutACopy) {
  const Parameter parameter = counted({3, 4});
  EXPECT_EQ(parameter.load().bytes(), parameter.source().bytes());
  EXPECT_FALSE(parameter.is_cut());
}

TEST(ParameterTest, CutsOfBothAxesAreLazyAndCompose) {
  Parameter parameter = counted({4, 5});
  parameter.cut(0, {0, 2, 3});
  parameter.cut(1, {1, 4});
  parameter.cut(0, {1, 2});  // of what is left: rows 2 and 3
  EXPECT_EQ(parameter.shape(), (Shape{2, 2}));
  EXPECT_EQ(parameter.source().shape(), (Shape{4, 5}));
  EXPECT_EQ(parameter.byte_size(), 16u);
  EXPECT_EQ(parameter.load().to_floats(), (std::vector<float>{11, 14, 16, 19}));
}

TEST(ParameterTest, AssignForgetsCuts) {
  Parameter parameter = counted({4});
  parameter.cut(0, {3});
  parameter.assign(Tensor::from_floats({2}, std::vector<float>{7, 8}));
  EXPECT_FALSE(parameter.is_cut());
  EXPECT_EQ(parameter.load().to_floats(), (std::vector<float>{7, 8}));
}

TEST(ParameterTest, FetchesItsBytesWhenTheyAreAskedFor) {
  int fetched = 0;
  Parameter parameter("w", DType::kF32, {2, 3}, [&] {
    ++fetched;
    return Tensor::from_floats({2, 3}, std::vector<float>{0, 1, 2, 3, 4, 5});
  });
  parameter.cut(1, {0, 2});
  EXPECT_EQ(parameter.byte_size(), 16u);
  EXPECT_EQ(fetched, 0);
  EXPECT_EQ(parameter.load().to_floats(), (std::vector<float>{0, 2, 3, 5}));
  EXPECT_EQ(fetched, 1);
  parameter.assign(Tensor(DType::kBF16, {7}));
  EXPECT_EQ(parameter.load().shape(), (Shape{7}));
  EXPECT_EQ(parameter.dtype(), DType::kBF16);
  EXPECT_EQ(fetched, 1);
}

TEST(ParameterTest, CutsOutsideAreBugs) {
  Parameter parameter = counted({4});
  EXPECT_THROW(parameter.cut(0, {4}), Bug);
  EXPECT_THROW(parameter.cut(0, {-1}), Bug);
}

TestGraph two_linears() {
  TestGraph g;
  g.input("x", {1, 4});
  g.param("a", {5, 4});
  g.param("unused", {3});
  g.param("b", {6, 5});
  g.node("Linear", {"x"}, {"h"}, {{"weight", "a"}});
  g.node("Linear", {"h"}, {"y"}, {{"weight", "b"}});
  g.output("y");
  return g;
}

TEST(GraphTest, DropsUnusedParametersAndKeepsTheOrder) {
  TestGraph g = two_linears();
  EXPECT_EQ(g.graph.parameter_count(), 20 + 3 + 30);
  g.graph.drop_unused_parameters();
  ASSERT_EQ(g.graph.parameters().size(), 2u);
  EXPECT_EQ(g.graph.parameters()[0]->name(), "a");
  EXPECT_EQ(g.graph.parameters()[1]->name(), "b");
  EXPECT_FALSE(g.graph.has_parameter("unused"));
  EXPECT_EQ(g.graph.parameter_bytes(), 4u * 50);
}

TEST(GraphTest, RenamingAParameterTakesItsNodesAlong) {
  TestGraph g = two_linears();
  g.graph.rename_parameter("a", "z");
  EXPECT_EQ(g.graph.nodes[0].params.at("weight"), "z");
  EXPECT_EQ(g.graph.parameters()[0]->name(), "z");
  EXPECT_EQ(g.graph.parameter("z").shape(), (Shape{5, 4}));
  EXPECT_THROW(g.graph.rename_parameter("z", "b"), Bug);
}

TEST(GraphTest, ClonesShareBytesButNotCuts) {
  TestGraph g = two_linears();
  Graph copy = g.graph.clone();
  copy.parameter("a").cut(0, {0});
  copy.nodes[0].name = "other";
  EXPECT_EQ(g.graph.parameter("a").shape(), (Shape{5, 4}));
  EXPECT_EQ(g.graph.nodes[0].name, "h");
  EXPECT_EQ(copy.parameter("b").load().bytes(), g.graph.parameter("b").load().bytes());
}

TEST(GraphTest, ProducersAndConsumers) {
  TestGraph g = two_linears();
  const ValueId hidden = g.graph.nodes[0].outputs[0];
  EXPECT_EQ(g.graph.producer(hidden), 0);
  EXPECT_EQ(g.graph.producer(g.graph.inputs[0]), std::nullopt);
  EXPECT_EQ(g.graph.consumers(hidden), (std::vector<NodeId>{1}));
}

TEST(GraphTest, CheckFindsDisorder) {
  TestGraph g = two_linears();
  EXPECT_NO_THROW(g.graph.check());
  std::swap(g.graph.nodes[0], g.graph.nodes[1]);
  EXPECT_THROW(g.graph.check(), Bug);
  std::swap(g.graph.nodes[0], g.graph.nodes[1]);
  g.graph.nodes[1].outputs = g.graph.nodes[0].outputs;
  EXPECT_THROW(g.graph.check(), Bug);
}

TEST(GraphTest, CheckFindsMissingParametersAndOutputs) {
  TestGraph missing = two_linears();
  missing.graph.nodes[0].params["weight"] = "nowhere";
  EXPECT_THROW(missing.graph.check(), Bug);
  TestGraph dangling = two_linears();
  dangling.graph.outputs = {dangling.graph.add_value("never")};
  EXPECT_THROW(dangling.graph.check(), Bug);
}

}  // namespace
}  // namespace espalier
