#include "espalier/lab/repair/bias_folding.h"

#include <gtest/gtest.h>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "tests/structure/test_networks.h"
#include "tests/support.h"

namespace espalier {
namespace {

void set(Graph& graph, const std::string& name, const std::vector<size_t>& at, float value) {
  std::vector<float> values = graph.parameter(name).load().to_floats();
  for (size_t i : at) values[i] = value;
  graph.parameter(name).assign(Tensor::from_floats(graph.parameter(name).shape(), values));
}

at::Tensor flags(int64_t size, const std::vector<int64_t>& where) {
  at::Tensor flags = at::zeros({size}, at::kBool);
  for (int64_t i : where) flags[i] = true;
  return flags;
}

at::Tensor output(const Graph& graph) {
  at::NoGradGuard no_gradients;
  Weights weights(graph);
  return Interpreter(graph, weights).forward(at::sin(at::arange(2 * 3 * 36, at::kFloat)).view({2, 3, 6, 6}));
}

std::string pointwise(test::Network& n, const std::string& x, const std::string& name, Shape weight) {
  n.param(name + ".w", std::move(weight));
  n.node("Conv", {x}, {name}, {{"weight", name + ".w"}}, {{"strides", test::List{1, 1}}, {"pads", test::List{0, 0, 0, 0}}});
  return name;
}

// What is removed after folding counts no more: the same whatever its bias becomes.
void expect_folded(Graph& graph, const std::map<std::string, at::Tensor>& removed, const std::vector<std::pair<std::string, std::vector<size_t>>>& biases) {
  const at::Tensor before = output(graph);
  Graph dropped = graph.clone();
  for (const auto& [name, channels] : biases) set(dropped, name, channels, 0);
  EXPECT_GT((before - output(dropped)).abs().max().item<double>(), 1e-3);
  fold_removed_biases(graph, removed);
  for (const auto& [name, channels] : biases) set(graph, name, channels, 0);
  EXPECT_LT((before - output(graph)).abs().max().item<double>(), 1e-5);
}

// Into a running mean (a layer without a bias), through a depthwise layer whose norm has its scale, and at every position of
// a Linear layer behind a Flatten. Behind these activations a bias of 0 gives 0.
TEST(BiasFolding, AllReadersGetTheConstants) {
  test::Network n;
  n.input("x", {2, 3, 6, 6});
  const std::string a = n.activation(n.batch_norm(n.conv("x", "a", {4, 3, 3, 3}), 4), "silu");
  const std::string b = n.activation(n.batch_norm(pointwise(n, a, "b", {6, 4, 1, 1}), 6), "silu");
  const std::string c = n.activation(n.batch_norm(n.conv(b, "c", {6, 1, 1, 1}, 6), 6), "silu");
  n.node("MaxPool", {c}, {"pooled"}, {}, {{"kernel_shape", test::List{2, 2}}, {"strides", test::List{2, 2}}});
  n.node("Flatten", {"pooled"}, {"features"});
  n.output(n.linear("features", "classes", 5, 54));
  n.infer();
  set(n.graph, "a.bn.scale.weight", {1, 3}, 0);
  set(n.graph, "a.bn.bias", {1, 3}, 0.7f);
  Graph graph = n.graph.clone();
  expect_folded(graph, {{"a.bn", flags(4, {1, 3})}}, {{"a.bn.bias", {1, 3}}});
  // Of the depthwise norm's channels only what is dropped may differ: its scale is not 0, its input is constant.
  set(n.graph, "b.bn.scale.weight", {2}, 0);
  set(n.graph, "b.bn.bias", {2}, 0.9f);
  set(n.graph, "c.bn.bias", {2}, 2.0f);
  graph = n.graph.clone();
  const at::Tensor before = output(graph);
  fold_removed_biases(graph, {{"b.bn", flags(6, {2})}, {"c.bn", flags(6, {2})}});
  set(graph, "c.bn.scale.weight", {2}, 0);
  set(graph, "c.bn.bias", {2}, 0);
  EXPECT_LT((before - output(graph)).abs().max().item<double>(), 1e-5);
}

// Into a bias, beside kept channels of a group convolution, and as the sum of a skip and a branch.
TEST(BiasFolding, SumsAndGroups) {
  test::Network n;
  n.input("x", {2, 3, 6, 6});
  const std::string stem = n.activation(n.batch_norm(n.conv("x", "stem", {8, 3, 3, 3}), 8), "relu");
  const std::string branch = n.batch_norm(n.conv(stem, "branch", {8, 8, 1, 1}), 8);
  const std::string sum = n.activation(n.add(branch, stem, "sum"), "relu");
  n.head(n.conv(sum, "last", {6, 4, 1, 1}, 2), 6);
  for (const char* norm : {"stem.bn", "branch.bn"}) {
    set(n.graph, std::string(norm) + ".scale.weight", {5}, 0);
    set(n.graph, std::string(norm) + ".bias", {5}, 0.6f);
  }
  expect_folded(n.graph, {{"stem.bn", flags(8, {5})}, {"branch.bn", flags(8, {5})}}, {{"stem.bn.bias", {5}}, {"branch.bn.bias", {5}}});
}

}  // namespace
}  // namespace espalier
