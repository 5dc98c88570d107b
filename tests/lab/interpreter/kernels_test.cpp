// Every vision operator's values against ATen functions that the kernels do not use, or numbers worked out by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "tests/graph/test_graph.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::TestGraph;
using List = std::vector<int64_t>;

at::Tensor ramp(const Shape& shape) { return at::sin(at::arange(element_count(shape), at::kFloat) * 0.7).view(shape); }
at::Tensor floats(const List& shape, const std::vector<float>& values) { return at::tensor(values).view(shape); }

// The node on one input; its shape rule must agree with what comes out.
at::Tensor apply(const std::string& op, const at::Tensor& x, std::map<std::string, Attribute> attributes = {},
                 const std::map<std::string, at::Tensor>& params = {}) {
  TestGraph g;
  g.input("x", x.sizes().vec());
  std::map<std::string, std::string> roles;
  for (const auto& [role, value] : params) {
    g.graph.add_parameter(role, from_torch(value, DType::kF32));
    roles[role] = role;
  }
  g.node(op, {"x"}, {"y"}, roles, std::move(attributes));
  g.output("y");
  g.infer();
  Weights weights(g.graph);
  at::Tensor y = Interpreter(g.graph, weights).forward(x);
  EXPECT_EQ(y.sizes().vec(), g.shape("y")) << op;
  return y;
}

at::Tensor combine(const std::string& op, const std::vector<at::Tensor>& inputs,
                   std::map<std::string, Attribute> attributes = {}) {
  TestGraph g;
  std::vector<std::string> names;
  Environment values;
  for (const auto& input : inputs) {
    names.push_back(fmt::format("x{}", names.size()));
    g.input(names.back(), input.sizes().vec());
    values[g.graph.inputs.back()] = input;
  }
  g.node(op, names, {"y"}, {}, std::move(attributes));
  g.output("y");
  g.infer();
  Weights weights(g.graph);
  Interpreter(g.graph, weights).run(values, 0, 1);
  const at::Tensor y = values.at(g.graph.outputs[0]);
  EXPECT_EQ(y.sizes().vec(), g.shape("y")) << op;
  return y;
}

void expect_close(const at::Tensor& found, const at::Tensor& expected) {
  ASSERT_EQ(found.sizes().vec(), expected.sizes().vec());
  EXPECT_LT((found - expected).abs().max().item<double>(), 1e-5);
}

TEST(Kernels, ConvolutionsWithGroupsDilationAndPads) {
  const at::Tensor x = ramp({2, 4, 7, 6}), w = ramp({6, 2, 3, 2}), b = ramp({6});
  expect_close(
      apply("Conv", x,
            {{"group", int64_t{2}}, {"strides", List{2, 1}}, {"dilations", List{1, 2}}, {"pads", List{1, 2, 1, 2}}},
            {{"weight", w}, {"bias", b}}),
      at::conv2d(x, w, b, {2, 1}, {1, 2}, {1, 2}, 2));
  expect_close(apply("Conv", x, {{"group", int64_t{2}}, {"pads", List{0, 1, 2, 0}}}, {{"weight", w}}),
               at::conv2d(at::constant_pad_nd(x, {1, 0, 0, 2}), w, {}, 1, List{0, 0}, 1, 2));
  const at::Tensor x1 = ramp({2, 3, 9}), w1 = ramp({5, 3, 3});
  expect_close(apply("Conv", x1, {{"strides", List{2}}, {"pads", List{1, 1}}}, {{"weight", w1}}),
               at::conv1d(x1, w1, {}, 2, 1));
}

TEST(Kernels, TransposedConvolutions) {
  const at::Tensor x = ramp({2, 4, 3, 5}), w = ramp({4, 3, 3, 3}), b = ramp({6});
  expect_close(
      apply(
          "ConvTranspose", x,
          {{"group", int64_t{2}}, {"strides", List{2, 2}}, {"pads", List{1, 1, 1, 1}}, {"output_padding", List{1, 0}}},
          {{"weight", w}, {"bias", b}}),
      at::conv_transpose2d(x, w, b, {2, 2}, {1, 1}, {1, 0}, 2));
  // [1 2 3] spread by two with the kernel [1 10]: 1 10 2 20 3 30; one off the front, two off the end
  expect_close(apply("ConvTranspose", floats({1, 1, 3}, {1, 2, 3}), {{"strides", List{2}}, {"pads", List{1, 2}}},
                     {{"weight", floats({1, 1, 2}, {1, 10})}}),
               floats({1, 1, 3}, {10, 2, 20}));
}

TEST(Kernels, Norms) {
  const at::Tensor x = ramp({2, 6, 3, 4}), w = ramp({6}) + 2, b = ramp({6}), mean = ramp({6}) * 0.1,
                   var = ramp({6}).abs() + 0.5;
  const std::map<std::string, Attribute> epsilon{{"epsilon", 1e-3}};
  expect_close(apply("BatchNorm", x, epsilon, {{"weight", w}, {"bias", b}, {"mean", mean}, {"var", var}}),
               at::batch_norm(x, w, b, mean, var, false, 0, 1e-3, false));
  expect_close(apply("BatchNorm", ramp({4, 6}), epsilon, {{"mean", mean}, {"var", var}}),
               at::batch_norm(ramp({4, 6}), {}, {}, mean, var, false, 0, 1e-3, false));
  const at::Tensor flat = x.reshape({2, 6, 12}), centred = flat - flat.mean(-1, true);
  expect_close(apply("InstanceNorm", x, epsilon, {{"weight", w}, {"bias", b}}),
               ((centred / (centred.square().mean(-1, true) + 1e-3).sqrt()) * w.view({6, 1}) + b.view({6, 1}))
                   .view({2, 6, 3, 4}));
  const at::Tensor runs = x.reshape({2, 3, 24}), from_mean = runs - runs.mean(-1, true);
  const at::Tensor plain = (from_mean / (from_mean.square().mean(-1, true) + 1e-3).sqrt()).view({2, 6, 3, 4});
  auto groups = epsilon;
  groups["num_groups"] = int64_t{3};
  expect_close(apply("GroupNorm", x, groups, {{"weight", w}, {"bias", b}}),
               plain * w.view({6, 1, 1}) + b.view({6, 1, 1}));
}

TEST(Kernels, AMaskedGroupNormIsTheOneWithoutThoseChannels) {
  const at::Tensor x = ramp({2, 6, 3, 4}), w = ramp({6}) + 2, b = ramp({6});
  const at::Tensor kept = at::tensor(std::vector<int64_t>{0, 2, 3, 5});
  const std::map<std::string, Attribute> attributes{{"epsilon", 1e-3}, {"num_groups", int64_t{2}}};
  const at::Tensor masked =
      apply("GroupNorm", x, attributes, {{"weight", w}, {"bias", b}, {"mask", floats({6}, {1, 0, 1, 1, 0, 1})}});
  expect_close(masked.index_select(1, kept),
               apply("GroupNorm", x.index_select(1, kept), attributes,
                     {{"weight", w.index_select(0, kept)}, {"bias", b.index_select(0, kept)}}));
  EXPECT_EQ(masked.select(1, 4).abs().max().item<float>(), 0);
}

TEST(Kernels, Pooling) {
  const at::Tensor x = ramp({2, 3, 7, 8});
  const std::map<std::string, Attribute> window{
      {"kernel_shape", List{3, 2}}, {"strides", List{2, 3}}, {"pads", List{1, 1, 1, 1}}, {"ceil_mode", true}};
  expect_close(apply("MaxPool", x, window), at::max_pool2d(x, {3, 2}, {2, 3}, {1, 1}, {1, 1}, true));
  expect_close(apply("AveragePool", x, window), at::avg_pool2d(x, {3, 2}, {2, 3}, {1, 1}, true, false));
  auto with_padding = window;
  with_padding["count_include_pad"] = true;
  expect_close(apply("AveragePool", x, with_padding), at::avg_pool2d(x, {3, 2}, {2, 3}, {1, 1}, true, true));
  expect_close(apply("MaxPool", x, {{"kernel_shape", List{2, 2}}, {"dilations", List{2, 3}}}),
               at::max_pool2d(x, {2, 2}, {1, 1}, {0, 0}, {2, 3}));
  // a window of two from one before the start: (-) 1 | 2 3
  expect_close(apply("AveragePool", floats({1, 1, 3}, {1, 2, 3}),
                     {{"kernel_shape", List{2}}, {"strides", List{2}}, {"pads", List{1, 0}}}),
               floats({1, 1, 2}, {1, 2.5}));
  expect_close(apply("MaxPool", floats({1, 1, 3}, {-1, -2, -3}),
                     {{"kernel_shape", List{2}}, {"strides", List{2}}, {"pads", List{1, 0}}}),
               floats({1, 1, 2}, {-1, -2}));
  expect_close(apply("GlobalAveragePool", x), at::adaptive_avg_pool2d(x, {1, 1}));
  expect_close(apply("GlobalMaxPool", x), std::get<0>(at::adaptive_max_pool2d(x, {1, 1})));
}

TEST(Kernels, Resize) {
  const at::Tensor x = ramp({1, 2, 4, 5});
  auto resize = [&](const std::string& mode, const std::string& coordinates, const std::string& rounding, List sizes) {
    return apply(
        "Resize", x,
        {{"mode", mode}, {"coordinates", coordinates}, {"nearest_mode", rounding}, {"sizes", std::move(sizes)}});
  };
  expect_close(resize("linear", "half_pixel", "floor", {7, 3}), at::upsample_bilinear2d(x, {7, 3}, false));
  expect_close(resize("linear", "align_corners", "floor", {7, 3}), at::upsample_bilinear2d(x, {7, 3}, true));
  expect_close(resize("nearest", "asymmetric", "floor", {8, 15}), at::upsample_nearest2d(x, {8, 15}));
  expect_close(apply("Resize", x,
                     {{"scales", std::vector<double>{2, 3}},
                      {"coordinates", std::string("asymmetric")},
                      {"nearest_mode", std::string("floor")}}),
               at::upsample_nearest2d(x, {8, 15}));
  // half pixels: -0.25 0.25 0.75 1.25 1.75 2.25, and an exact half goes down or up as asked
  const at::Tensor three = floats({1, 1, 3}, {1, 2, 3});
  expect_close(apply("Resize", three, {{"sizes", List{6}}}), floats({1, 1, 6}, {1, 1, 2, 2, 3, 3}));
  const std::map<std::string, Attribute> doubled{{"sizes", List{6}}, {"coordinates", std::string("asymmetric")}};
  expect_close(apply("Resize", three, doubled), floats({1, 1, 6}, {1, 1, 2, 2, 3, 3}));
  auto up = doubled;
  up["nearest_mode"] = std::string("round_prefer_ceil");
  expect_close(apply("Resize", three, up), floats({1, 1, 6}, {1, 2, 2, 3, 3, 3}));
}

TEST(Kernels, Pad) {
  const at::Tensor x = ramp({1, 2, 3, 4});
  const List pads{0, 1, 2, 1, 0, 0, 1, 2};
  expect_close(apply("Pad", x, {{"pads", pads}, {"value", 0.5}}), at::constant_pad_nd(x, {1, 2, 2, 1, 1, 0}, 0.5));
  const List spatial{0, 0, 2, 1, 0, 0, 1, 3};
  expect_close(apply("Pad", x, {{"pads", spatial}, {"mode", std::string("reflect")}}),
               at::reflection_pad2d(x, {1, 3, 2, 1}));
  expect_close(apply("Pad", x, {{"pads", spatial}, {"mode", std::string("edge")}}),
               at::replication_pad2d(x, {1, 3, 2, 1}));
}

TEST(Kernels, Layout) {
  const at::Tensor x = ramp({2, 3, 4});
  expect_close(apply("Transpose", x, {{"perm", List{2, 0, 1}}}), x.permute({2, 0, 1}));
  expect_close(apply("Reshape", x, {{"shape", List{0, -1, 2}}}), x.reshape({2, 6, 2}));
  expect_close(apply("Flatten", x, {{"axis", int64_t{2}}}), x.reshape({6, 4}));
  expect_close(apply("Flatten", x, {{"axis", int64_t{0}}}), x.reshape({1, 24}));
  expect_close(apply("Unsqueeze", x, {{"axes", List{0, -1}}}), x.unsqueeze(0).unsqueeze(-1));
  expect_close(apply("Squeeze", x.unsqueeze(1).unsqueeze(0), {{"axes", List{0, 2}}}), x);
  expect_close(apply("Expand", x.narrow(1, 0, 1), {{"shape", List{5, 1, 3, 1}}}),
               x.narrow(1, 0, 1).expand({5, 2, 3, 4}));
  expect_close(apply("Tile", x, {{"repeats", List{1, 2, 3}}}), x.repeat({1, 2, 3}));
  expect_close(apply("Repeat", x, {{"axis", int64_t{1}}, {"repeats", int64_t{2}}}),
               at::stack({x, x}, 2).reshape({2, 6, 4}));
}

TEST(Kernels, PickingAndJoining) {
  const at::Tensor x = ramp({2, 3, 7});
  auto slice = [&](int64_t start, int64_t end, int64_t step) {
    return apply("Slice", x, {{"axes", List{-1}}, {"starts", List{start}}, {"ends", List{end}}, {"steps", List{step}}});
  };
  expect_close(slice(1, INT64_MAX, 2), at::slice(x, 2, 1, 7, 2));
  expect_close(slice(-3, -1, 1), at::slice(x, 2, 4, 6));
  expect_close(slice(-1, INT64_MIN, -1), x.flip(2));
  expect_close(slice(5, 1, -2), x.index_select(2, at::tensor(List{5, 3})));
  expect_close(apply("Slice", x, {{"axes", List{0, 1}}, {"starts", List{1, 0}}, {"ends", List{2, 2}}}),
               x.narrow(0, 1, 1).narrow(1, 0, 2));
  expect_close(apply("Gather", x, {{"axis", int64_t{1}}, {"indices", List{2, -3, 2}}}),
               x.index_select(1, at::tensor(List{2, 0, 2})));
  expect_close(apply("Gather", x, {{"axis", int64_t{1}}, {"indices", List{-1}}, {"scalar", true}}), x.select(1, 2));
  expect_close(combine("Concat", {x, x.narrow(1, 0, 1)}, {{"axis", int64_t{1}}}), at::cat({x, x.narrow(1, 0, 1)}, 1));
}

TEST(Kernels, ArithmeticBroadcasts) {
  const at::Tensor a = ramp({2, 3, 4}), b = ramp({3, 1}) + 2, c = ramp({4});
  expect_close(combine("Add", {a, b}), a + b);
  expect_close(combine("Sub", {b, a}), b - a);
  expect_close(combine("Mul", {a, b}), a * b);
  expect_close(combine("Div", {a, b}), a / b);
  expect_close(combine("Pow", {b, a}), at::exp(a * at::log(b)));
  expect_close(combine("Min", {a, c}), (a + c - (a - c).abs()) / 2);
  expect_close(combine("Max", {a, c}), (a + c + (a - c).abs()) / 2);
  const at::Tensor yes = (a > 0).to(at::kFloat);
  expect_close(combine("Where", {yes, a, b}), yes * a + (1 - yes) * b);
  expect_close(combine("MatMul", {a, ramp({2, 4, 5})}), at::bmm(a, ramp({2, 4, 5})));
  expect_close(combine("MatMul", {ramp({2, 1, 3, 4}), ramp({5, 4, 2})}),
               at::einsum("bmk,hkn->bhmn", {ramp({2, 1, 3, 4}).squeeze(1), ramp({5, 4, 2})}));
}

TEST(Kernels, Reductions) {
  const at::Tensor x = ramp({2, 3, 4});
  expect_close(apply("ReduceMean", x, {{"axes", List{-1, 0}}}), x.sum(0, true).sum(2, true) / 8);
  expect_close(apply("ReduceSum", x, {{"axes", List{1}}, {"keepdims", false}}),
               x.select(1, 0) + x.select(1, 1) + x.select(1, 2));
  expect_close(apply("ReduceMax", x, {{"keepdims", false}}), x.max());
  expect_close(apply("ReduceMin", x, {{"axes", List{2}}}), -(-x).amax(2, true));
  expect_close(apply("Softmax", x, {{"axis", int64_t{1}}}), x.exp() / x.exp().sum(1, true));
  EXPECT_TRUE(at::equal(apply("ArgMax", floats({2, 3}, {1, 5, 5, 2, 0, 1}), {{"axes", List{1}}, {"keepdims", false}}),
                        at::tensor(List{1, 0})));
}

TEST(Kernels, Activations) {
  const at::Tensor x = ramp({4, 9}) * 4, zero = at::zeros_like(x);
  auto of = [&](const std::string& kind, std::map<std::string, Attribute> more = {}) {
    more["kind"] = kind;
    return apply("Activation", x, std::move(more));
  };
  const at::Tensor positive = at::maximum(x, zero), negative = at::minimum(x, zero), sigmoid = 1 / (1 + (-x).exp());
  const at::Tensor relu6 = at::minimum(at::maximum(x + 3, zero), zero + 6);
  expect_close(of("relu"), positive);
  expect_close(of("leaky_relu", {{"alpha", 0.1}}), positive + 0.1 * negative);
  expect_close(of("elu", {{"alpha", 0.5}}), positive + 0.5 * (negative.exp() - 1));
  expect_close(of("celu", {{"alpha", 2.0}}), positive + 2 * ((negative / 2).exp() - 1));
  expect_close(of("selu"), 1.0507009873554805 * (positive + 1.6732632423543772 * (negative.exp() - 1)));
  expect_close(of("clip", {{"min", 0.0}, {"max", 2.0}}), at::minimum(positive, zero + 2));
  expect_close(of("clip", {{"max", 1.0}}), at::minimum(x, zero + 1));
  expect_close(of("sigmoid"), sigmoid);
  expect_close(of("silu"), x * sigmoid);
  expect_close(of("hardsigmoid"), at::minimum(at::maximum(0.2 * x + 0.5, zero), zero + 1));
  expect_close(of("hardswish"), x * relu6 / 6);
  expect_close(of("tanh"), (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()));
  expect_close(of("softplus"), (1 + x.exp()).log());
  expect_close(of("mish"), x * at::tanh((1 + x.exp()).log()));
  expect_close(of("softsign"), x / (1 + positive - negative));
  expect_close(of("gelu"), x * 0.5 * (1 + at::erf(x / std::sqrt(2.0))));
  expect_close(of("neg"), zero - x);
  expect_close(of("abs"), positive - negative);
  expect_close(of("not").to(at::kFloat), (x == 0).to(at::kFloat));
}

TEST(Kernels, AnUnknownOperatorIsRefusedByName) {
  TestGraph g;
  g.input("x", {1, 2});
  g.node("Opaque", {"x"}, {"y"}, {}, {{"op_type", std::string("Mystery")}, {"shape.0", List{1, 2}}});
  g.output("y");
  g.infer();
  Weights weights(g.graph);
  ESP_EXPECT_USER_ERROR(Interpreter(g.graph, weights).forward(ramp({1, 2})), "y: the operator Mystery cannot be run");
}

}  // namespace
}  // namespace espalier
