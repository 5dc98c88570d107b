// Shapes, costs and refusals of the operators of vision models and of layout.
#include "tests/graph/test_graph.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::TestGraph;
using List = std::vector<int64_t>;
using Attributes = std::map<std::string, Attribute>;

// One node on inputs x0, x1, … with parameters named by their roles.
TestGraph one(const std::string& op, const std::vector<Shape>& inputs, Attributes attributes = {},
              const std::vector<std::pair<std::string, Shape>>& params = {}, size_t outputs = 1) {
  TestGraph g;
  std::vector<std::string> names, made;
  std::map<std::string, std::string> roles;
  for (const Shape& shape : inputs) {
    names.push_back(fmt::format("x{}", names.size()));
    g.input(names.back(), shape);
  }
  for (const auto& [role, shape] : params) {
    g.param(role, shape);
    roles[role] = role;
  }
  for (size_t i = 0; i < outputs; ++i) made.push_back(fmt::format("y{}", i));
  g.node(op, names, made, roles, std::move(attributes));
  return g;
}

template <typename G>
Shape shape_of(G&& g) {
  g.infer();
  return g.shape("y0");
}

template <typename G>
Cost cost_after(G&& g) {
  g.infer();
  return g.cost();
}

TEST(VisionOps, Convolutions) {
  const Attributes window{{"strides", List{2, 1}}, {"dilations", List{1, 3}}, {"pads", List{1, 0, 2, 1}}};
  // (9 + 3 − 3) / 2 + 1 = 5; (8 + 1 − 4) / 1 + 1 = 6
  TestGraph g = one("Conv", {{2, 4, 9, 8}}, window, {{"weight", {6, 4, 3, 2}}, {"bias", {6}}});
  EXPECT_EQ(shape_of(g), (Shape{2, 6, 5, 6}));
  g.infer();
  EXPECT_EQ(g.cost().flops, 2.0 * (2 * 6 * 5 * 6) * (4 * 3 * 2));
  EXPECT_EQ(g.cost().weight_bytes, 4.0 * (6 * 4 * 6 + 6));
  EXPECT_EQ(shape_of(one("Conv", {{2, 4, 9}}, {{"group", int64_t{4}}}, {{"weight", {8, 1, 3}}})), (Shape{2, 8, 7}));
  // (9 − 1) · 2 + 3 + 1 − 2
  TestGraph t = one("ConvTranspose", {{1, 4, 9}},
                    {{"strides", List{2}}, {"pads", List{1, 1}}, {"output_padding", List{1}}, {"group", int64_t{2}}},
                    {{"weight", {4, 3, 3}}, {"bias", {6}}});
  EXPECT_EQ(shape_of(t), (Shape{1, 6, 18}));
  t.infer();
  EXPECT_EQ(t.cost().flops, 2.0 * (4 * 9) * (3 * 3));
}

TEST(VisionOps, ConvolutionsRefuseWhatDoesNotFit) {
  auto refused = [](Shape x, Attributes attributes, Shape weight, const char* fragment) {
    ESP_EXPECT_USER_ERROR(shape_of(one("Conv", {std::move(x)}, std::move(attributes), {{"weight", std::move(weight)}})),
                          fragment);
  };
  refused({1, 4, 5, 5}, {}, {6, 3, 3, 3}, "y0: input channels of the weight: expected 4, found [6, 3, 3, 3]");
  refused({1, 4, 5, 5}, {{"group", int64_t{3}}}, {6, 1, 3, 3},
          "y0: group: expected a divisor of 4 and 6 channels, found 3");
  refused({1, 4, 5, 5}, {{"group", int64_t{0}}}, {6, 4, 3, 3}, "found 0");
  refused({1, 4, 5, 5}, {}, {6, 4, 6, 3}, "y0: window: expected at most the padded size 5, found 6");
  refused({1, 4, 5, 5}, {{"strides", List{0, 1}}}, {6, 4, 3, 3}, "y0: strides: expected numbers of 1 to 2^31, found 0");
  refused({1, 4, 5, 5}, {{"pads", List{1, 1}}}, {6, 4, 3, 3}, "y0: pads: expected 4 numbers, found 2");
  refused({1, 4, 5, 5}, {{"dilations", List{1, INT64_MAX}}}, {6, 4, 3, 3}, "y0: dilations");
  refused({1, 4, 5, 5}, {}, {6, 4, 3}, "y0: weight: expected 4 dims");
  refused({1, 4}, {}, {6, 4}, "y0: input: expected 3 to 4 dims, found [1, 4]");
  ESP_EXPECT_USER_ERROR(
      shape_of(one("ConvTranspose", {{1, 4, 5}}, {{"output_padding", List{1}}}, {{"weight", {4, 2, 3}}})),
      "output_padding");
  ESP_EXPECT_USER_ERROR(shape_of(one("ConvTranspose", {{1, 4, 2}}, {{"pads", List{3, 3}}}, {{"weight", {4, 2, 3}}})),
                        "pads");
}

TEST(VisionOps, Norms) {
  for (const char* op : {"BatchNorm", "InstanceNorm", "GroupNorm"}) {
    const Attributes attributes{{"epsilon", 1e-5}, {"num_groups", int64_t{2}}};
    EXPECT_EQ(shape_of(one(op, {{2, 6, 3}}, attributes, {{"weight", {6}}, {"bias", {6}}})), (Shape{2, 6, 3}));
    ESP_EXPECT_USER_ERROR(shape_of(one(op, {{2, 6, 3}}, attributes, {{"bias", {5}}})),
                          "y0: bias: expected [6], found [5]");
  }
  ESP_EXPECT_USER_ERROR(shape_of(one("GroupNorm", {{2, 6, 3}}, {{"num_groups", int64_t{4}}})),
                        "num_groups: expected a divisor of 6 channels");
  ESP_EXPECT_USER_ERROR(shape_of(one("PRelu", {{2, 6, 3, 3}}, {}, {{"slope", {6}}})), "slope");
  EXPECT_EQ(shape_of(one("PRelu", {{2, 6, 3, 3}}, {}, {{"slope", {6, 1, 1}}})), (Shape{2, 6, 3, 3}));
}

TEST(VisionOps, PoolingWithAndWithoutCeil) {
  Attributes window{{"kernel_shape", List{3, 2}}, {"strides", List{2, 2}}, {"pads", List{0, 1, 0, 0}}};
  EXPECT_EQ(shape_of(one("MaxPool", {{1, 2, 6, 7}}, window)), (Shape{1, 2, 2, 4}));
  window["ceil_mode"] = true;
  EXPECT_EQ(shape_of(one("AveragePool", {{1, 2, 6, 7}}, window)), (Shape{1, 2, 3, 4}));
  // a second window would start past the two positions, so it is left out
  EXPECT_EQ(
      shape_of(one("MaxPool", {{1, 2, 2}}, {{"kernel_shape", List{1}}, {"strides", List{2}}, {"ceil_mode", true}})),
      (Shape{1, 2, 1}));
  ESP_EXPECT_USER_ERROR(shape_of(one("MaxPool", {{1, 2, 6}}, {{"kernel_shape", List{2}}, {"pads", List{2, 0}}})),
                        "pads: expected less than the window 2");
  ESP_EXPECT_USER_ERROR(shape_of(one("MaxPool", {{1, 2, 6}}, {{"kernel_shape", List{2, 2}}})), "kernel_shape");
  EXPECT_EQ(shape_of(one("GlobalMaxPool", {{1, 2, 6, 5}})), (Shape{1, 2, 1, 1}));
  EXPECT_EQ(cost_after(one("GlobalAveragePool", {{1, 2, 6, 5}})).flops, 60);
}

TEST(VisionOps, ResizeAndPad) {
  EXPECT_EQ(shape_of(one("Resize", {{1, 2, 5, 5}}, {{"scales", std::vector<double>{1.5, 2}}})), (Shape{1, 2, 7, 10}));
  EXPECT_EQ(shape_of(one("Resize", {{1, 2, 5}}, {{"sizes", List{3}}})), (Shape{1, 2, 3}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Resize", {{1, 2, 5}}, {{"scales", std::vector<double>{-1}}})), "scales");
  ESP_EXPECT_USER_ERROR(shape_of(one("Resize", {{1, 2, 5}}, {{"sizes", List{3}}, {"mode", std::string("cubic")}})),
                        "one of nearest, linear, found cubic");
  EXPECT_EQ(shape_of(one("Pad", {{1, 2}}, {{"pads", List{0, 1, 0, 3}}})), (Shape{1, 6}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Pad", {{1, 2}}, {{"pads", List{0, -1, 0, 0}}})), "pads");
  ESP_EXPECT_USER_ERROR(shape_of(one("Pad", {{1, 2}}, {{"pads", List{0, 2, 0, 0}}, {"mode", std::string("reflect")}})),
                        "less than the size 2");
}

TEST(VisionOps, LayoutShapes) {
  EXPECT_EQ(shape_of(one("Reshape", {{2, 3, 4}}, {{"shape", List{0, -1, 2}}})), (Shape{2, 6, 2}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Reshape", {{2, 3, 4}}, {{"shape", List{5, -1}}})),
                        "y0: input: expected as many elements as [5, -1], found [2, 3, 4]");
  ESP_EXPECT_USER_ERROR(shape_of(one("Reshape", {{2, 3}}, {{"shape", List{-1, -1}}})), "at most one -1");
  ESP_EXPECT_USER_ERROR(shape_of(one("Reshape", {{2, 3}}, {{"shape", List{INT64_MAX, INT64_MAX}}})),
                        "as many elements");
  EXPECT_EQ(shape_of(one("Flatten", {{2, 3, 4}}, {{"axis", int64_t{-1}}})), (Shape{6, 4}));
  EXPECT_EQ(shape_of(one("Transpose", {{2, 3, 4}}, {{"perm", List{2, 0, 1}}})), (Shape{4, 2, 3}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Transpose", {{2, 3}}, {{"perm", List{1, 1}}})),
                        "perm: expected a permutation of 2 dims, found [1, 1]");
  EXPECT_EQ(shape_of(one("Squeeze", {{1, 3, 1}}, {{"axes", List{-1}}})), (Shape{1, 3}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Squeeze", {{1, 3}}, {{"axes", List{1}}})), "size of axis 1: expected 1, found 3");
  EXPECT_EQ(shape_of(one("Unsqueeze", {{2, 3}}, {{"axes", List{0, 3}}})), (Shape{1, 2, 3, 1}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Unsqueeze", {{2, 3}}, {{"axes", List{4}}})), "axis");
  EXPECT_EQ(shape_of(one("Expand", {{2, 1, 3}}, {{"shape", List{4, 1}}})), (Shape{2, 4, 3}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Expand", {{2, 3}}, {{"shape", List{4}}})), "broadcasts with [4]");
  EXPECT_EQ(shape_of(one("Tile", {{2, 3}}, {{"repeats", List{2, 1}}})), (Shape{4, 3}));
  EXPECT_EQ(shape_of(one("Repeat", {{2, 3}}, {{"axis", int64_t{1}}, {"repeats", int64_t{4}}})), (Shape{2, 12}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Tile", {{2, 3}}, {{"repeats", List{1 << 30, 1 << 30}}})),
                        "y0: output: expected fewer elements");
}

TEST(VisionOps, AbsurdSizesAreRefused) {
  const int64_t large = int64_t{1} << 31, huge = int64_t{1} << 45;
  ESP_EXPECT_USER_ERROR(shape_of(one("Tile", {{huge}}, {{"repeats", List{large}}})), "y0: size");
  ESP_EXPECT_USER_ERROR(shape_of(one("Repeat", {{huge}}, {{"axis", int64_t{0}}, {"repeats", large}})), "y0: size");
  ESP_EXPECT_USER_ERROR(
      shape_of(one("ConvTranspose", {{1, 1, huge}}, {{"strides", List{large}}}, {{"weight", {1, 1, 2}}})), "y0: size");
  ESP_EXPECT_USER_ERROR(shape_of(one("Expand", {{1, 1}}, {{"shape", List{INT64_MAX, INT64_MAX}}})), "y0: output");
  ESP_EXPECT_USER_ERROR(shape_of(one("Opaque", {{1}}, {{"shape.0", List{-4}}})), "sizes of at least 0, found -4");
}

TEST(VisionOps, PickingAndJoining) {
  const Attributes bounds{
      {"axes", List{1, 0}}, {"starts", List{-1, 0}}, {"ends", List{INT64_MIN, INT64_MAX}}, {"steps", List{-2, 1}}};
  EXPECT_EQ(shape_of(one("Slice", {{2, 5}}, bounds)), (Shape{2, 3}));
  ESP_EXPECT_USER_ERROR(
      shape_of(one("Slice", {{2, 5}}, {{"axes", List{0, 0}}, {"starts", List{0, 0}}, {"ends", List{1, 1}}})),
      "each axis once");
  ESP_EXPECT_USER_ERROR(
      shape_of(one("Slice", {{2, 5}}, {{"axes", List{0}}, {"starts", List{0}}, {"ends", List{1}}, {"steps", List{0}}})),
      "steps");
  EXPECT_EQ(shape_of(one("Gather", {{2, 5}}, {{"axis", int64_t{1}}, {"indices", List{4, -5, 0}}})), (Shape{2, 3}));
  EXPECT_EQ(shape_of(one("Gather", {{2, 5}}, {{"axis", int64_t{0}}, {"indices", List{1}}, {"scalar", true}})),
            (Shape{5}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Gather", {{2, 5}}, {{"axis", int64_t{1}}, {"indices", List{5}}})),
                        "indices: expected -5 to 4, found 5");
  EXPECT_EQ(shape_of(one("Concat", {{2, 5}, {2, 1}}, {{"axis", int64_t{-1}}})), (Shape{2, 6}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Concat", {{2, 5}, {3, 1}}, {{"axis", int64_t{1}}})), "found [3, 1]");
  TestGraph split = one("Split", {{4, 5}}, {{"axis", int64_t{0}}, {"sizes", List{1, 3}}}, {}, 2);
  split.infer();
  EXPECT_EQ(split.shape("y1"), (Shape{3, 5}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Split", {{4, 5}}, {{"sizes", List{-1, 6}}}, {}, 2)), "sizes");
}

TEST(VisionOps, ArithmeticAndReductions) {
  EXPECT_EQ(shape_of(one("Where", {{3, 1}, {2, 1, 4}, {1}})), (Shape{2, 3, 4}));
  EXPECT_EQ(shape_of(one("Div", {{3, 1}, {2, 3, 4}})), (Shape{2, 3, 4}));
  ESP_EXPECT_USER_ERROR(shape_of(one("Sub", {{3, 2}, {2, 3, 4}})), "y0: second input");
  TestGraph product = one("MatMul", {{2, 1, 3, 4}, {5, 4, 6}});
  EXPECT_EQ(shape_of(product), (Shape{2, 5, 3, 6}));
  EXPECT_EQ(cost_after(product).flops, 2.0 * (2 * 5 * 3 * 6) * 4);
  ESP_EXPECT_USER_ERROR(shape_of(one("MatMul", {{3, 4}, {3, 6}})), "second input: expected 4 rows");
  EXPECT_EQ(shape_of(one("ReduceMean", {{2, 3, 4}}, {{"axes", List{-1}}})), (Shape{2, 3, 1}));
  EXPECT_EQ(shape_of(one("ReduceSum", {{2, 3, 4}}, {{"axes", List{0, 2}}, {"keepdims", false}})), (Shape{3}));
  ESP_EXPECT_USER_ERROR(shape_of(one("ReduceMax", {{2, 3}}, {{"axes", List{2}}})), "axis: expected -2 to 1, found 2");
  ESP_EXPECT_USER_ERROR(shape_of(one("ArgMax", {{2, 3}}, {{"axes", List{0, 1}}})), "one axis");
  ESP_EXPECT_USER_ERROR(shape_of(one("Activation", {{2, 3}}, {{"kind", std::string("rellu")}})), "found rellu");
  ESP_EXPECT_USER_ERROR(shape_of(one("Cast", {{2, 3}}, {{"to", std::string("complex")}})), "found complex");
}

TEST(VisionOps, ConstantsAndUnknownOperators) {
  TestGraph constant = one("Constant", {}, {}, {{"value", {2, 3}}});
  EXPECT_EQ(shape_of(constant), (Shape{2, 3}));
  EXPECT_EQ(cost_after(constant).weight_bytes, 24);
  TestGraph opaque =
      one("Opaque", {{2, 3}}, {{"op_type", std::string("Mystery")}, {"shape.0", List{7}}, {"shape.1", List{}}}, {}, 2);
  opaque.infer();
  EXPECT_EQ(opaque.shape("y0"), (Shape{7}));
  EXPECT_EQ(opaque.shape("y1"), Shape{});
}

TEST(GraphEdits, DropUnreadNodesGoesThroughChains) {
  TestGraph g;
  g.input("x", {1, 2});
  for (const auto& [in, out] :
       std::vector<std::pair<std::string, std::string>>{{"x", "a"}, {"a", "b"}, {"b", "c"}, {"a", "y"}})
    g.node("Activation", {in}, {out}, {}, {{"kind", std::string("relu")}});
  g.output("y");
  g.graph.drop_unread_nodes();
  ASSERT_EQ(g.graph.nodes.size(), 2u);
  EXPECT_EQ(g.graph.nodes[0].name, "a");
  EXPECT_EQ(g.graph.nodes[1].name, "y");
}

}  // namespace
}  // namespace espalier
