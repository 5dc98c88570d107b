// Gradients of every differentiable operator by central differences, fp64, for inputs and parameters.
#include <gtest/gtest.h>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "tests/graph/test_graph.h"

namespace espalier::gradients_test {
namespace {

using test::TestGraph;
using List = std::vector<int64_t>;

struct GradientCase {
  const char* name;
  const char* op;
  std::vector<Shape> inputs;
  std::vector<std::pair<const char*, Shape>> params;
  std::map<std::string, Attribute> attributes;
};

std::string text(const char* value) { return value; }

const std::vector<GradientCase>& cases() {
  static const std::vector<GradientCase> all = {
      {"Conv",
       "Conv",
       {{2, 4, 5, 4}},
       {{"weight", {6, 2, 3, 2}}, {"bias", {6}}},
       {{"group", int64_t{2}}, {"strides", List{2, 1}}, {"dilations", List{1, 2}}, {"pads", List{1, 0, 1, 2}}}},
      {"Conv1d", "Conv", {{2, 3, 7}}, {{"weight", {4, 3, 3}}}, {{"pads", List{1, 1}}}},
      {"Depthwise", "Conv", {{1, 3, 4, 4}}, {{"weight", {6, 1, 3, 3}}}, {{"group", int64_t{3}}}},
      {"ConvTranspose",
       "ConvTranspose",
       {{1, 4, 3, 3}},
       {{"weight", {4, 2, 3, 3}}, {"bias", {4}}},
       {{"group", int64_t{2}}, {"strides", List{2, 2}}, {"pads", List{1, 0, 0, 1}}, {"output_padding", List{1, 1}}}},
      {"BatchNorm",
       "BatchNorm",
       {{2, 3, 2, 2}},
       {{"weight", {3}}, {"bias", {3}}, {"mean", {3}}, {"var", {3}}},
       {{"epsilon", 1e-3}}},
      {"InstanceNorm", "InstanceNorm", {{2, 3, 4, 2}}, {{"weight", {3}}, {"bias", {3}}}, {{"epsilon", 1e-3}}},
      {"GroupNorm",
       "GroupNorm",
       {{2, 6, 2, 2}},
       {{"weight", {6}}, {"bias", {6}}},
       {{"epsilon", 1e-3}, {"num_groups", int64_t{2}}}},
      {"LayerNorm", "LayerNorm", {{2, 3, 5}}, {{"weight", {5}}, {"bias", {5}}}, {{"epsilon", 1e-3}}},
      {"RMSNorm", "RMSNorm", {{2, 3, 5}}, {{"weight", {5}}}, {{"epsilon", 1e-3}}},
      {"PRelu", "PRelu", {{2, 3, 2, 2}}, {{"slope", {3, 1, 1}}}, {}},
      {"Linear", "Linear", {{2, 3, 4}}, {{"weight", {5, 4}}, {"bias", {5}}}, {}},
      {"Gate", "Gate", {{2, 3, 4}}, {{"gate", {4}}}, {}},
      {"MaxPool",
       "MaxPool",
       {{1, 2, 5, 6}},
       {},
       {{"kernel_shape", List{3, 2}}, {"strides", List{2, 2}}, {"pads", List{1, 0, 0, 1}}, {"ceil_mode", true}}},
      {"AveragePool",
       "AveragePool",
       {{1, 2, 5, 6}},
       {},
       {{"kernel_shape", List{3, 2}}, {"strides", List{2, 2}}, {"pads", List{1, 0, 0, 1}}, {"ceil_mode", true}}},
      {"GlobalAveragePool", "GlobalAveragePool", {{2, 3, 3, 2}}, {}, {}},
      {"GlobalMaxPool", "GlobalMaxPool", {{2, 3, 3, 2}}, {}, {}},
      {"ResizeNearest", "Resize", {{1, 2, 3, 3}}, {}, {{"sizes", List{5, 7}}}},
      {"ResizeLinear", "Resize", {{1, 2, 3, 3}}, {}, {{"sizes", List{5, 7}}, {"mode", text("linear")}}},
      {"Pad", "Pad", {{1, 2, 3, 3}}, {}, {{"pads", List{0, 1, 1, 0, 0, 0, 2, 1}}}},
      {"PadReflect", "Pad", {{1, 2, 3, 3}}, {}, {{"pads", List{0, 0, 1, 0, 0, 0, 2, 1}}, {"mode", text("reflect")}}},
      {"Add", "Add", {{2, 3, 4}, {3, 1}}, {}, {}},
      {"Sub", "Sub", {{2, 3, 4}, {3, 1}}, {}, {}},
      {"Mul", "Mul", {{2, 3, 4}, {3, 1}}, {}, {}},
      {"Div", "Div", {{2, 3, 4}, {3, 1}}, {}, {}},
      {"Min", "Min", {{2, 3, 4}, {4}}, {}, {}},
      {"Max", "Max", {{2, 3, 4}, {4}}, {}, {}},
      {"Where", "Where", {{3}, {2, 3}, {2, 1}}, {}, {}},
      {"MatMul", "MatMul", {{2, 1, 3, 4}, {2, 4, 5}}, {}, {}},
      {"Softmax", "Softmax", {{2, 3, 4}}, {}, {{"axis", int64_t{1}}}},
      {"ReduceMean", "ReduceMean", {{2, 3, 4}}, {}, {{"axes", List{0, 2}}}},
      {"ReduceSum", "ReduceSum", {{2, 3, 4}}, {}, {{"axes", List{1}}, {"keepdims", false}}},
      {"ReduceMax", "ReduceMax", {{2, 3, 4}}, {}, {{"axes", List{2}}}},
      {"ReduceMin", "ReduceMin", {{2, 3, 4}}, {}, {{"axes", List{2}}}},
      {"Concat", "Concat", {{2, 3, 4}, {2, 1, 4}}, {}, {{"axis", int64_t{1}}}},
      {"Slice",
       "Slice",
       {{2, 3, 7}},
       {},
       {{"axes", List{2}}, {"starts", List{6}}, {"ends", List{0}}, {"steps", List{-2}}}},
      {"Gather", "Gather", {{2, 3, 4}}, {}, {{"axis", int64_t{1}}, {"indices", List{2, 0, 2}}}},
      {"Split", "Split", {{2, 5}}, {}, {{"sizes", List{5}}, {"axis", int64_t{1}}}},
      {"Transpose", "Transpose", {{2, 3, 4}}, {}, {{"perm", List{1, 2, 0}}}},
      {"Reshape", "Reshape", {{2, 3, 4}}, {}, {{"shape", List{6, -1}}}},
      {"Flatten", "Flatten", {{2, 3, 4}}, {}, {}},
      {"Squeeze", "Squeeze", {{2, 1, 4}}, {}, {{"axes", List{1}}}},
      {"Unsqueeze", "Unsqueeze", {{2, 4}}, {}, {{"axes", List{1}}}},
      {"Expand", "Expand", {{2, 1, 4}}, {}, {{"shape", List{3, 1}}}},
      {"Tile", "Tile", {{2, 3}}, {}, {{"repeats", List{2, 2}}}},
      {"Repeat", "Repeat", {{2, 3}}, {}, {{"axis", int64_t{1}}, {"repeats", int64_t{2}}}},
      {"Cast", "Cast", {{2, 3}}, {}, {{"to", text("float")}}},
      {"Constant", "Constant", {}, {{"value", {2, 3}}}, {}},
      {"Silu", "Activation", {{3, 4}}, {}, {{"kind", text("silu")}}},
      {"Gelu", "Activation", {{3, 4}}, {}, {{"kind", text("gelu")}}},
      {"GeluTanh", "Activation", {{3, 4}}, {}, {{"kind", text("gelu_tanh")}}},
      {"QuickGelu", "Activation", {{3, 4}}, {}, {{"kind", text("quick_gelu")}}},
      {"LeakyRelu", "Activation", {{3, 4}}, {}, {{"kind", text("leaky_relu")}}},
      {"HardSwish", "Activation", {{3, 4}}, {}, {{"kind", text("hardswish")}}},
      {"HardSigmoid", "Activation", {{3, 4}}, {}, {{"kind", text("hardsigmoid")}}},
      {"Sigmoid", "Activation", {{3, 4}}, {}, {{"kind", text("sigmoid")}}},
      {"Tanh", "Activation", {{3, 4}}, {}, {{"kind", text("tanh")}}},
      {"Clip", "Activation", {{3, 4}}, {}, {{"kind", text("clip")}, {"min", -0.3}, {"max", 0.4}}},
      {"Erf", "Activation", {{3, 4}}, {}, {{"kind", text("erf")}}},
      {"Exp", "Activation", {{3, 4}}, {}, {{"kind", text("exp")}}},
      {"Softplus", "Activation", {{3, 4}}, {}, {{"kind", text("softplus")}}},
      {"Mish", "Activation", {{3, 4}}, {}, {{"kind", text("mish")}}},
  };
  return all;
}

// No two elements are near each other and none near 0, so that no kink lies within a difference.
at::Tensor spread(const Shape& shape, double phase) {
  const at::Tensor position = at::arange(element_count(shape), at::kDouble) * 2.399963 + phase;
  return (at::sin(position) + 0.05 * at::cos(3.1 * position)).view(shape);
}

class Function {
 public:
  explicit Function(const GradientCase& which) : weights_(graph_.graph) {
    std::vector<std::string> inputs;
    std::map<std::string, std::string> roles;
    for (const Shape& shape : which.inputs) {
      inputs.push_back(fmt::format("x{}", inputs.size()));
      graph_.input(inputs.back(), shape);
      leaves_.push_back(spread(shape, 0.3 + static_cast<double>(leaves_.size())));
    }
    for (const auto& [role, shape] : which.params) {
      graph_.param(role, shape);
      roles[role] = role;
      const at::Tensor value = spread(shape, 0.9 + static_cast<double>(leaves_.size()));
      leaves_.push_back(std::string(role) == "var" ? value.square() + 0.5 : value);
      params_.push_back(role);
    }
    graph_.node(which.op, inputs, {"y"}, roles, which.attributes);
    graph_.output("y");
    graph_.infer();
    for (at::Tensor& leaf : leaves_) leaf.set_requires_grad(true);
  }

  // Σ cos(i) · y_i
  at::Tensor operator()() {
    Environment values;
    size_t next = 0;
    for (ValueId input : graph_.graph.inputs) values[input] = leaves_[next++];
    for (const auto& name : params_) weights_.set(name, leaves_[next++]);
    Interpreter(graph_.graph, weights_).run(values, 0, 1);
    const at::Tensor y = values.at(graph_.graph.outputs[0]).reshape({-1});
    return (y * at::cos(at::arange(y.numel(), at::kDouble))).sum();
  }
  std::vector<at::Tensor>& leaves() { return leaves_; }

 private:
  TestGraph graph_;
  Weights weights_;
  std::vector<std::string> params_;
  std::vector<at::Tensor> leaves_;
};

class Gradients : public ::testing::TestWithParam<size_t> {};

TEST_P(Gradients, AreWhatDifferencesSay) {
  const GradientCase& which = cases()[GetParam()];
  Function function(which);
  const bool condition = std::string(which.op) == "Where";  // its first input only chooses
  std::vector<at::Tensor> leaves = function.leaves();
  if (condition) leaves.erase(leaves.begin());
  const auto gradients = torch::autograd::grad({function()}, leaves);
  const double step = 1e-5;
  for (size_t l = 0; l < leaves.size(); ++l) {
    const at::Tensor gradient = gradients[l].contiguous();
    double* elements = leaves[l].data_ptr<double>();
    for (int64_t i = 0; i < leaves[l].numel(); ++i) {
      at::NoGradGuard guard;
      const double before = elements[i];
      elements[i] = before + step;
      const double above = function().item<double>();
      elements[i] = before - step;
      const double below = function().item<double>();
      elements[i] = before;
      EXPECT_NEAR(gradient.data_ptr<double>()[i], (above - below) / (2 * step), 1e-6)
          << "leaf " << l << " element " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Operators, Gradients, ::testing::Range(size_t{0}, cases().size()),
                         [](const auto& info) { return std::string(cases()[info.param].name); });

}  // namespace
}  // namespace espalier::gradients_test
