// A layer as a matrix product gives what the interpreter gives, whatever its window, groups and layout.
#include "espalier/lab/measure/layer_columns.h"

#include <gtest/gtest.h>

#include "espalier/graph/operator.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "tests/structure/test_networks.h"
#include "tests/support.h"

namespace espalier {
namespace {

struct Layer {
  std::string name;
  Shape input, weight;
  std::map<std::string, Attribute> attributes;
};

class LayerColumns : public ::testing::TestWithParam<Layer> {
 protected:
  void SetUp() override {
    const Layer& layer = GetParam();
    network_.input("x", layer.input);
    network_.param("w", layer.weight);
    network_.node(layer.name == "linear" || layer.name == "transposed" ? "Linear" : "Conv", {"x"}, {"y"}, {{"weight", "w"}}, layer.attributes);
    network_.output("y");
    network_.infer();
    Weights weights(network_.graph);
    x_ = at::sin(at::arange(element_count(layer.input), at::kFloat) * 0.7).view(layer.input);
    y_ = Interpreter(network_.graph, weights).forward(x_);
  }
  const Node& node() const { return network_.graph.nodes[0]; }

  void expect_product(const at::Tensor& positions) {
    const LayerShape shape = layer_shape(network_.graph, node());
    const at::Tensor stored = to_torch(network_.graph.parameter("w").load()), matrix = layer_matrix(node(), stored, shape);
    const at::Tensor columns = layer_columns(network_.graph, node(), x_, positions);
    EXPECT_EQ(columns.size(2), shape.inputs);
    const at::Tensor expected = layer_outputs(network_.graph, node(), y_, positions);
    EXPECT_LT((at::bmm(columns, matrix.transpose(1, 2)) - expected).abs().max().item<double>(), 1e-5);
    EXPECT_TRUE(at::equal(stored_weight(node(), matrix, stored), stored));
    LayerGram gram("layer");
    gram.add(columns);
    gram.add(columns);
    const at::Tensor wide = columns.to(at::kDouble);
    EXPECT_LT((gram.gram() - 2 * at::bmm(wide.transpose(1, 2), wide)).abs().max().item<double>(), 1e-3);
  }

  test::Network network_;
  at::Tensor x_, y_;
};

TEST_P(LayerColumns, MultiplyToTheOutput) { expect_product({}); }

TEST_P(LayerColumns, AtSomePositions) {
  const at::Tensor positions = sampled_positions(network_.graph, node(), 2, 10, 5);
  if (GetParam().input.size() == 4) {
    EXPECT_EQ(positions.numel(), 5);
  }
  expect_product(positions);
}

using L = std::vector<int64_t>;
INSTANTIATE_TEST_SUITE_P(Layers, LayerColumns,
                         ::testing::Values(Layer{"linear", {2, 5, 6}, {4, 6}, {}}, Layer{"transposed", {2, 5, 6}, {6, 4}, {{"transposed", true}}},
                                           Layer{"conv", {2, 3, 7, 6}, {4, 3, 3, 3}, {{"pads", L{1, 1, 1, 1}}}},
                                           Layer{"strided", {2, 3, 9, 8}, {4, 3, 3, 2}, {{"strides", L{2, 1}}, {"pads", L{1, 0, 0, 1}}}},
                                           Layer{"dilated", {2, 3, 9, 9}, {4, 3, 3, 3}, {{"dilations", L{2, 1}}}},
                                           Layer{"grouped", {2, 6, 5, 5}, {4, 3, 3, 3}, {{"group", int64_t{2}}, {"pads", L{1, 1, 1, 1}}}},
                                           Layer{"depthwise", {2, 3, 5, 5}, {6, 1, 3, 3}, {{"group", int64_t{3}}}},
                                           Layer{"flat", {2, 3, 12}, {4, 3, 3}, {{"strides", L{2}}, {"pads", L{1, 1}}}}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace espalier
