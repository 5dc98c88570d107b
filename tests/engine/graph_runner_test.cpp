#include "espalier/engine/graph_runner.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/structure/test_networks.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::List;
using test::Network;
using test::TestGraph;

std::vector<float> run_one(const Graph& graph, const Shape& shape, const std::vector<float>& x, int threads = 1) {
  GraphRunner runner(graph, {shape}, {threads, {}});
  return runner.run(std::vector{Tensor::from_floats(shape, x)})[0].to_floats();
}

TEST(GraphRunner, AConvolutionByHand) {
  TestGraph g;
  g.input("x", {1, 1, 2, 3});
  g.graph.add_parameter("w", Tensor::from_floats({2, 1, 1, 2}, std::vector<float>{1, 10, -1, 0}));
  g.graph.add_parameter("b", Tensor::from_floats({2}, std::vector<float>{0.5, 0}));
  g.graph.add_parameter("mean", Tensor::from_floats({2}, std::vector<float>{0.5, -1}));
  g.graph.add_parameter("var", Tensor::from_floats({2}, std::vector<float>{3, 0}));
  g.node("Conv", {"x"}, {"c"}, {{"weight", "w"}, {"bias", "b"}});
  g.node("BatchNorm", {"c"}, {"n"}, {{"mean", "mean"}, {"var", "var"}}, {{"epsilon", 1.0}});
  g.node("Activation", {"n"}, {"y"}, {}, {{"kind", std::string("relu")}});
  g.output("y");
  g.infer();
  // 1 2 3 / 4 5 6: channel 0 is (21 32 / 54 65) / sqrt(3 + 1), channel 1 is 1 - (1 2 / 4 5) above 0
  EXPECT_EQ(run_one(g.graph, {1, 1, 2, 3}, {1, 2, 3, 4, 5, 6}), (std::vector<float>{10.5, 16, 27, 32.5, 0, 0, 0, 0}));
  GraphRunner runner(g.graph, {{1, 1, 2, 3}});
  EXPECT_EQ(runner.step_count(), 2u);  // the convolution with all that follows, and its output in order
}

TEST(GraphRunner, ResidualsGoIntoTheConvolutions) {
  Network net;
  net.input("x", {1, 16, 8, 8});
  net.conv("x", "a", {16, 16, 3, 3});
  net.activation("a", "relu");
  net.conv("a.relu", "b", {16, 16, 3, 3});
  net.batch_norm("b", 16);
  net.node("Add", {"b.bn", "a.relu"}, {"sum"});
  net.activation("sum", "relu");
  net.output("sum.relu");
  net.infer();
  GraphRunner runner(net.graph, {{1, 16, 8, 8}});
  EXPECT_EQ(runner.step_count(), 4u);  // channels last, two convolutions, back in order
  EXPECT_LT(runner.workspace_bytes(), 3u * 16 * 8 * 8 * 4 + (1u << 16));
  std::set<std::string> names;
  const std::vector<Tensor> inputs{Tensor(DType::kF32, {1, 16, 8, 8})};
  for (const auto& step : runner.time_steps(inputs, 3)) {
    EXPECT_GE(step.seconds, 0);
    names.insert(step.node);
  }
  EXPECT_TRUE(names.count("a") && names.count("b"));
}

TEST(GraphRunner, ShapeArithmeticInIntegers) {
  TestGraph g;
  g.input("ids", {2, 3});
  g.node("Compare", {"ids", "ids"}, {"same"}, {}, {{"kind", std::string("equal")}});
  g.node("ReduceSum", {"same"}, {"count"}, {}, {{"keepdims", false}});
  g.node("Mul", {"ids", "ids"}, {"squares"});
  g.node("ArgMax", {"squares"}, {"best"}, {}, {{"axes", List{1}}, {"keepdims", false}});
  for (const char* name : {"count", "squares", "best"}) g.output(name);
  g.infer();
  GraphRunner runner(g.graph, {{2, 3}}, {1, {DType::kI64}});
  Tensor ids(DType::kI64, {2, 3});
  const std::vector<int64_t> values{1, -3, 3, int64_t{1} << 31, 2, 0};
  std::copy(values.begin(), values.end(), ids.mutable_as<int64_t>().begin());
  const auto outputs = runner.run(std::vector{ids});
  EXPECT_EQ(outputs[0].as<int64_t>()[0], 6);
  EXPECT_EQ(outputs[1].as<int64_t>()[3], int64_t{1} << 62);
  EXPECT_EQ(outputs[2].as<int64_t>()[0], 1);
  EXPECT_EQ(outputs[2].as<int64_t>()[1], 0);
}

TEST(GraphRunner, AnOutputMayBeAnInputOrAConstant) {
  TestGraph g;
  g.input("x", {2, 2});
  g.node("Constant", {}, {"c"}, {}, {{"shape", List{2}}, {"values", std::vector<double>{1, 2}}});
  g.node("Transpose", {"x"}, {"t"}, {}, {{"perm", List{1, 0}}});
  for (const char* name : {"x", "c", "t"}) g.output(name);
  g.infer();
  GraphRunner runner(g.graph, {{2, 2}});
  const auto outputs = runner.run(std::vector{Tensor::from_floats({2, 2}, std::vector<float>{1, 2, 3, 4})});
  EXPECT_EQ(outputs[0].to_floats(), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(outputs[1].to_floats(), (std::vector<float>{1, 2}));
  EXPECT_EQ(outputs[2].to_floats(), (std::vector<float>{1, 3, 2, 4}));
}

TEST(GraphRunner, OtherElementTypesAreConverted) {
  TestGraph g;
  g.input("x", {3});
  g.node("Activation", {"x"}, {"y"}, {}, {{"kind", std::string("neg")}});
  g.output("y");
  GraphRunner runner(g.graph, {{3}});
  const Tensor x = Tensor::from_floats({3}, std::vector<float>{1, -2, 0.5});
  EXPECT_EQ(runner.run(std::vector{x.to(DType::kBF16)})[0].to_floats(), (std::vector<float>{-1, 2, -0.5}));
}

TEST(GraphRunner, TellsWhatDoesNotFit) {
  TestGraph g;
  g.input("ids", {1, 2});
  g.param("rows", {4, 3});
  g.node("Embedding", {"ids"}, {"e"}, {{"weight", "rows"}});
  g.output("e");
  g.infer();
  ESP_EXPECT_USER_ERROR(GraphRunner(g.graph, {{1, 2}, {1, 2}}), "expected 1 shapes, found 2");
  ESP_EXPECT_USER_ERROR(GraphRunner(g.graph, {{1, 2}}, {0, {}}), "threads");
  ESP_EXPECT_USER_ERROR(GraphRunner(g.graph, {{1, 2}}, {1, {DType::kF16}}), "input type");
  GraphRunner runner(g.graph, {{1, 2}});
  EXPECT_EQ(runner.input_dtypes(), std::vector{DType::kI64});
  Tensor ids(DType::kI64, {1, 2});
  ids.mutable_as<int64_t>()[1] = 4;
  ESP_EXPECT_USER_ERROR(runner.run(std::vector{ids}), "e: id: expected 0 to 3, found 4");
  ESP_EXPECT_USER_ERROR(runner.run(std::vector{Tensor(DType::kI64, {2, 1})}),
                        "ids: shape: expected [1, 2], found [2, 1]");
  ESP_EXPECT_USER_ERROR(runner.run(std::vector{Tensor(DType::kF32, {1, 2})}), "element type");
  ESP_EXPECT_USER_ERROR(runner.run(std::vector<Tensor>{}), "inputs");
}

TEST(GraphRunner, AnUnknownOperatorIsRefusedByName) {
  TestGraph g;
  g.input("x", {1, 2});
  g.node("Opaque", {"x"}, {"y"}, {}, {{"op_type", std::string("Mystery")}, {"shape.0", List{1, 2}}});
  g.output("y");
  ESP_EXPECT_USER_ERROR(GraphRunner(g.graph, {{1, 2}}), "y: the operator Mystery cannot be run");
}

TEST(GraphRunner, HasAKernelForEveryOperatorThatCanRun) {
  for (const std::string& op : operator_names())
    EXPECT_EQ(has_graph_kernel(op), op != "Opaque") << op;
}

TEST(GraphRunner, ThreadsGiveTheSamePicture) {
  const Network net = test::residual_network();
  const Shape shape = net.graph.values[static_cast<size_t>(net.graph.inputs[0])].shape;
  std::vector<float> x(static_cast<size_t>(element_count(shape)));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 13) * 0.1f;
  const auto one = run_one(net.graph, shape, x), two = run_one(net.graph, shape, x, 2);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], two[i], 1e-5);
}

}  // namespace
}  // namespace espalier
