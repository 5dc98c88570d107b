// Small graphs, one operator each (every kind and option that has a form of its own in ONNX), for the exporter's tests
// and its judge.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "espalier/graph/ops/attention_masks.h"
#include "tests/graph/test_graph.h"

namespace espalier::test {

struct ExportCase {
  std::string name;
  Graph graph;
  std::vector<Shape> shapes;                    // that the graph is exported with
  std::vector<Shape> other = {};                // others that the exported model must take too; empty: none
  bool positive = false;                        // inputs in (0, 1], else in [-1, 1)
  int64_t vocab = 0;                            // inputs are token ids below it
  int64_t min_opset = 11;
  double tolerance = 1e-5;
};

using List = std::vector<int64_t>;
using Reals = std::vector<double>;
using Attributes = std::map<std::string, Attribute>;

// Parameters by role; their names are "<node>.<role>".
struct OneNode {
  std::string op;
  std::vector<Shape> inputs;
  Attributes attributes = {};
  std::map<std::string, Shape> params = {};
  size_t outputs = 1;
};

inline Graph one_node(const OneNode& spec) {
  TestGraph g;
  std::vector<std::string> inputs, outputs;
  for (const Shape& shape : spec.inputs) {
    inputs.push_back(fmt::format("x{}", inputs.size()));
    g.input(inputs.back(), shape);
  }
  std::map<std::string, std::string> params;
  for (const auto& [role, shape] : spec.params) {
    params[role] = fmt::format("node.{}", role);
    if (role == "var") {  // a variance is positive
      std::vector<float> values = tiny_values(role, shape);
      for (float& value : values) value += 1;
      g.graph.add_parameter("node.var", Tensor::from_floats(shape, values));
    } else {
      g.param(fmt::format("node.{}", role), shape);
    }
  }
  for (size_t i = 0; i < spec.outputs; ++i) outputs.push_back(fmt::format("y{}", i));
  g.node(spec.op, inputs, outputs, params, spec.attributes);
  for (const auto& name : outputs) g.output(name);
  return std::move(g.graph);
}

class ExportCases {
 public:
  std::vector<ExportCase> all;

  ExportCase& add(const std::string& name, const OneNode& spec) {
    all.push_back({name, one_node(spec), spec.inputs});
    return all.back();
  }
  // With another batch too.
  ExportCase& batched(const std::string& name, const OneNode& spec) {
    ExportCase& made = add(name, spec);
    made.other = made.shapes;
    for (Shape& shape : made.other) shape[0] += 2;
    return made;
  }
};

inline void add_elementwise_cases(ExportCases& c) {
  for (const char* kind : {"silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "selu", "sigmoid", "hardswish", "tanh",
                           "softplus", "softsign", "mish", "erf", "exp", "neg", "abs", "sign", "floor", "ceil", "round",
                           "sin", "cos", "leaky_relu", "elu", "celu", "hardsigmoid", "clip"})
    c.batched(kind, {"Activation", {{2, 3, 4}}, {{"kind", std::string(kind)}}});
  for (const char* kind : {"sqrt", "reciprocal", "log"})
    c.batched(kind, {"Activation", {{2, 3, 4}}, {{"kind", std::string(kind)}}}).positive = true;
  c.add("not", {"Activation", {{2, 3}}, {{"kind", std::string("not")}}});
  const auto with = [](const char* kind, double alpha) {
    return Attributes{{"kind", std::string(kind)}, {"alpha", alpha}};
  };
  c.add("leaky_relu_alpha", {"Activation", {{2, 3}}, with("leaky_relu", 0.3)});
  c.add("elu_alpha", {"Activation", {{2, 3}}, with("elu", 0.5)});
  c.add("celu_alpha", {"Activation", {{2, 3}}, with("celu", 0.7)});
  c.add("relu6", {"Activation", {{2, 3}}, {{"kind", std::string("clip")}, {"min", 0.0}, {"max", 6.0}}});
  c.add("clip_above", {"Activation", {{2, 3}}, {{"kind", std::string("clip")}, {"max", 0.25}}});
  c.add("clip_below", {"Activation", {{2, 3}}, {{"kind", std::string("clip")}, {"min", -0.25}}});
  for (const char* op : {"Add", "Sub", "Mul", "Max", "Min"}) c.batched(op, {op, {{2, 3, 4}, {2, 1, 4}}});
  for (const char* op : {"Div", "Pow"}) c.batched(op, {op, {{2, 3, 4}, {2, 3, 1}}}).positive = true;
  c.add("Add_ranks", {"Add", {{4}, {2, 3, 4}}});
  c.batched("Where", {"Where", {{2, 3}, {2, 3}, {2, 1}}});
  for (const char* kind : {"equal", "less", "less_or_equal", "greater", "greater_or_equal", "and", "or", "xor"})
    c.add(std::string("Compare_") + kind, {"Compare", {{2, 3}, {2, 3}}, {{"kind", std::string(kind)}}});
  for (const char* to : {"float", "int64", "bool"})
    c.add(std::string("Cast_") + to, {"Cast", {{2, 3}}, {{"to", std::string(to)}}});
  c.batched("Gate", {"Gate", {{2, 3, 4}}, {}, {{"gate", {4}}}});
  c.batched("PRelu", {"PRelu", {{2, 3, 4, 5}}, {}, {{"slope", {3, 1, 1}}}});
}

inline void add_linear_cases(ExportCases& c) {
  for (bool transposed : {false, true})
    for (bool bias : {false, true})
      for (const Shape& x : {Shape{2, 4}, Shape{2, 3, 4}, Shape{2, 3, 2, 4}}) {
        std::map<std::string, Shape> params{{"weight", transposed ? Shape{4, 5} : Shape{5, 4}}};
        if (bias) params["bias"] = {5};
        c.batched(fmt::format("Linear_{}{}{}", x.size(), transposed ? "_transposed" : "", bias ? "_bias" : ""),
                  {"Linear", {x}, {{"transposed", transposed}}, params});
      }
  c.batched("MatMul", {"MatMul", {{2, 3, 4, 5}, {2, 3, 5, 2}}});
  c.add("MatMul_broadcast", {"MatMul", {{2, 3, 4, 5}, {5, 2}}});
  c.batched("Embedding", {"Embedding", {{2, 5}}, {}, {{"weight", {7, 4}}}}).vocab = 7;
  ExportCase& positions =
      c.add("PositionEmbedding", {"PositionEmbedding", {{1, 5}}, {{"offset", int64_t{2}}}, {{"weight", {9, 4}}}});
  positions.vocab = 7;
  positions.other = {{3, 7}};
  c.add("PositionEmbedding_0", {"PositionEmbedding", {{2, 5}}, {{"offset", int64_t{0}}}, {{"weight", {5, 4}}}}).vocab = 7;
}

inline void add_norm_cases(ExportCases& c) {
  for (const char* op : {"LayerNorm", "RMSNorm"}) {
    const Attributes epsilon{{"epsilon", 1e-3}}, heads{{"epsilon", 1e-3}, {"head_size", int64_t{4}}};
    const std::string name = op;
    c.batched(name, {op, {{2, 3, 8}}, epsilon, {{"weight", {8}}}});
    c.add(name + "_plain", {op, {{2, 8}}, epsilon});
    c.batched(name + "_heads", {op, {{2, 3, 8}}, heads, {{"weight", {4}}}});
  }
  c.batched("LayerNorm_bias", {"LayerNorm", {{2, 3, 8}}, {{"epsilon", 1e-5}}, {{"weight", {8}}, {"bias", {8}}}});
  c.add("LayerNorm_heads_bias", {"LayerNorm",
                                 {{2, 3, 8}},
                                 {{"epsilon", 1e-5}, {"head_size", int64_t{4}}},
                                 {{"weight", {4}}, {"bias", {4}}}});
  const Attributes epsilon{{"epsilon", 1e-3}};
  const std::map<std::string, Shape> full{{"weight", {4}}, {"bias", {4}}, {"mean", {4}}, {"var", {4}}};
  c.batched("BatchNorm", {"BatchNorm", {{2, 4, 3, 5}}, epsilon, full});
  c.batched("BatchNorm_rows", {"BatchNorm", {{2, 4}}, epsilon, full});
  c.add("BatchNorm_plain", {"BatchNorm", {{2, 4, 3}}, epsilon, {{"mean", {4}}}});
  c.batched("InstanceNorm", {"InstanceNorm", {{2, 4, 3, 5}}, epsilon, {{"weight", {4}}, {"bias", {4}}}});
  c.add("InstanceNorm_plain", {"InstanceNorm", {{2, 4, 6}}, epsilon});
  const Attributes groups{{"epsilon", 1e-3}, {"num_groups", int64_t{2}}};
  c.batched("GroupNorm", {"GroupNorm", {{2, 4, 3, 5}}, groups, {{"weight", {4}}, {"bias", {4}}}});
  c.add("GroupNorm_plain", {"GroupNorm", {{2, 4, 6}}, groups});
  c.add("GroupNorm_rows", {"GroupNorm", {{2, 4}}, groups, {{"weight", {4}}}});
}

inline void add_window_cases(ExportCases& c) {
  c.batched("Conv", {"Conv",
                     {{2, 4, 7, 6}},
                     {{"group", int64_t{2}}, {"strides", List{2, 1}}, {"dilations", List{1, 2}}, {"pads", List{1, 0, 2, 1}}},
                     {{"weight", {6, 2, 3, 2}}, {"bias", {6}}}});
  c.add("Conv_plain", {"Conv", {{2, 4, 5, 5}}, {}, {{"weight", {3, 4, 1, 1}}}});
  c.add("Conv_1d", {"Conv", {{2, 4, 9}}, {{"strides", List{2}}, {"pads", List{1, 1}}}, {{"weight", {3, 4, 3}}}});
  c.batched("ConvTranspose",
            {"ConvTranspose",
             {{2, 4, 3, 5}},
             {{"group", int64_t{2}}, {"strides", List{2, 3}}, {"pads", List{1, 0, 1, 1}}, {"output_padding", List{1, 0}}},
             {{"weight", {4, 3, 3, 3}}, {"bias", {6}}}});
  c.add("ConvTranspose_1d", {"ConvTranspose", {{2, 4, 5}}, {{"dilations", List{2}}}, {{"weight", {4, 3, 3}}}});
  for (const char* op : {"MaxPool", "AveragePool"}) {
    const std::string name = op;
    c.batched(name, {op, {{2, 3, 8, 7}}, {{"kernel_shape", List{3, 2}}, {"strides", List{2, 1}}, {"pads", List{1, 0, 0, 1}}}});
    c.add(name + "_ceil", {op, {{2, 3, 8, 7}}, {{"kernel_shape", List{3, 3}}, {"strides", List{2, 2}}, {"ceil_mode", true}}});
    // The last window would lie in the padding alone.
    c.add(name + "_ceil_dropped", {op,
                                   {{2, 3, 4, 4}},
                                   {{"kernel_shape", List{2, 2}}, {"strides", List{3, 3}}, {"pads", List{1, 1, 1, 1}}, {"ceil_mode", true}}});
    c.add(name + "_1d", {op, {{2, 3, 9}}, {{"kernel_shape", List{3}}, {"strides", List{2}}, {"pads", List{1, 1}}}});
  }
  c.add("MaxPool_dilated", {"MaxPool", {{2, 3, 8, 7}}, {{"kernel_shape", List{3, 2}}, {"dilations", List{2, 3}}}});
  c.add("AveragePool_padding", {"AveragePool",
                                {{2, 3, 8, 7}},
                                {{"kernel_shape", List{3, 3}}, {"pads", List{1, 1, 1, 1}}, {"count_include_pad", true}}});
  for (const char* op : {"GlobalAveragePool", "GlobalMaxPool"}) c.batched(op, {op, {{2, 3, 4, 5}}});
}

inline void add_layout_cases(ExportCases& c) {
  c.batched("Reshape", {"Reshape", {{2, 3, 4}}, {{"shape", List{0, 2, -1}}}});
  for (int64_t axis : {0, 1, 3, -1})
    c.add(fmt::format("Flatten_{}", axis), {"Flatten", {{2, 3, 4}}, {{"axis", axis}}});
  c.batched("Transpose", {"Transpose", {{2, 3, 4}}, {{"perm", List{0, 2, 1}}}});
  c.batched("Squeeze", {"Squeeze", {{2, 1, 4, 1}}, {{"axes", List{1, -1}}}});
  c.batched("Unsqueeze", {"Unsqueeze", {{2, 4}}, {{"axes", List{1, -1}}}});
  c.batched("Slice", {"Slice", {{2, 6, 7}}, {{"axes", List{1, -1}}, {"starts", List{1, -5}}, {"ends", List{100, -1}}}});
  c.batched("Slice_steps", {"Slice",
                            {{2, 6, 7}},
                            {{"axes", List{2, 1}}, {"starts", List{6, 0}}, {"ends", List{-100, 6}}, {"steps", List{-2, 3}}}});
  c.batched("Gather", {"Gather", {{2, 5, 3}}, {{"axis", int64_t{1}}, {"indices", List{4, 0, -2}}}});
  c.batched("Gather_scalar", {"Gather", {{2, 5, 3}}, {{"axis", int64_t{1}}, {"indices", List{-1}}, {"scalar", true}}});
  OneNode split{"Split", {{2, 3, 7}}, {{"sizes", List{4, 1, 2}}}};
  split.outputs = 3;
  c.batched("Split", split);
  c.batched("Concat", {"Concat", {{2, 3, 4}, {2, 1, 4}, {2, 2, 4}}, {{"axis", int64_t{1}}}});
  c.batched("Expand", {"Expand", {{2, 1, 4}}, {{"shape", List{3, 1}}}});
  c.add("Expand_rank", {"Expand", {{3, 1}}, {{"shape", List{2, 1, 4}}}});
  c.batched("Tile", {"Tile", {{2, 3}}, {{"repeats", List{1, 2}}}});
  c.batched("Repeat", {"Repeat", {{2, 3, 4}}, {{"axis", int64_t{1}}, {"repeats", int64_t{2}}}});
  c.batched("Repeat_last", {"Repeat", {{2, 3, 4}}, {{"axis", int64_t{-1}}, {"repeats", int64_t{3}}}});
  c.batched("Repeat_batch", {"Repeat", {{2, 3}}, {{"axis", int64_t{0}}, {"repeats", int64_t{2}}}});
  c.batched("Pad", {"Pad", {{2, 3, 4}}, {{"pads", List{0, 1, 0, 0, 0, 2}}, {"value", 0.5}}});
  c.batched("Pad_zero", {"Pad", {{2, 3, 4}}, {{"pads", List{0, 0, 2, 0, 1, 0}}}});
  for (const char* mode : {"reflect", "edge"})
    c.batched(std::string("Pad_") + mode,
              {"Pad", {{2, 3, 4, 5}}, {{"pads", List{0, 0, 1, 2, 0, 0, 2, 1}}, {"mode", std::string(mode)}}});
}

inline void add_reduction_cases(ExportCases& c) {
  for (const char* op : {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"}) {
    const std::string name = op;
    c.batched(name, {op, {{2, 3, 4}}, {{"axes", List{1, -1}}}});
    c.batched(name + "_gone", {op, {{2, 3, 4}}, {{"axes", List{1}}, {"keepdims", false}}});
    c.add(name + "_all", {op, {{2, 3, 4}}, {{"keepdims", false}}});
  }
  c.batched("ArgMax", {"ArgMax", {{2, 3, 4}}, {{"axes", List{-1}}}});
  c.batched("ArgMax_gone", {"ArgMax", {{2, 3, 4}}, {{"axes", List{1}}, {"keepdims", false}}});
  c.batched("Softmax", {"Softmax", {{2, 3, 4}}});
  c.batched("Softmax_middle", {"Softmax", {{2, 3, 4}}, {{"axis", int64_t{1}}}});
  for (const char* coordinates : {"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"}) {
    const std::string name = coordinates;
    c.batched("Resize_linear_" + name,
              {"Resize", {{2, 3, 4, 5}}, {{"mode", std::string("linear")}, {"coordinates", name}, {"scales", Reals{2, 1.5}}}});
    c.batched("Resize_linear_sizes_" + name,
              {"Resize", {{2, 3, 4, 5}}, {{"mode", std::string("linear")}, {"coordinates", name}, {"sizes", List{7, 3}}}});
  }
  for (const char* rounding : {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"})
    c.batched(std::string("Resize_") + rounding, {"Resize",
                                                  {{2, 3, 4, 5}},
                                                  {{"coordinates", std::string("asymmetric")},
                                                   {"nearest_mode", std::string(rounding)},
                                                   {"scales", Reals{2, 2}}}});
  c.batched("Resize_sizes", {"Resize", {{2, 3, 4, 5}}, {{"sizes", List{8, 10}}}});
}

// The node's inputs are looked up from token ids, whose number is open.
inline ExportCase token_case(const std::string& name, const std::string& op, const List& widths, Attributes attributes) {
  TestGraph g;
  g.input("ids", {1, 5});
  std::vector<std::string> inputs;
  for (int64_t width : widths) {
    inputs.push_back(fmt::format("x{}", inputs.size()));
    g.param(inputs.back() + ".weight", {11, width});
    g.node("Embedding", {"ids"}, {inputs.back()}, {{"weight", inputs.back() + ".weight"}});
  }
  g.node(op, inputs, {"y"}, {}, std::move(attributes));
  g.output("y");
  return {name, std::move(g.graph), {{1, 5}}, {{2, 8}}, false, 11};
}

inline void add_attention_cases(ExportCases& c) {
  const auto attention = [&](const std::string& name, int64_t query, int64_t key, Attributes more) {
    more.insert({{"head_size", int64_t{4}}, {"scale", 0.5}});
    c.all.push_back(token_case(name, "Attention", {query, key, key}, more));
  };
  attention("Attention", 8, 8, {});
  attention("Attention_grouped", 16, 8, {});
  attention("Attention_one_kv_head", 16, 4, {});
  attention("Attention_window", 8, 8, {{"window", int64_t{3}}});
  attention("Attention_everywhere", 8, 8, {{"causal", false}});
  attention("Attention_everywhere_grouped", 16, 8, {{"causal", false}});
  c.add("Attention_across", {"Attention",
                             {{2, 5, 8}, {2, 3, 8}, {2, 3, 8}},
                             {{"head_size", int64_t{4}}, {"scale", 1.0}, {"causal", false}}});
  // Masks: for each head, for each window of a batch of two pictures, and conditions.
  const auto masked = [&](const std::string& name, const std::vector<Shape>& masks, List kinds, Reals fills) {
    std::vector<Shape> shapes{{4, 5, 8}, {4, 3, 8}, {4, 3, 8}};
    shapes.insert(shapes.end(), masks.begin(), masks.end());
    c.add(name, {"Attention", shapes, {{"head_size", int64_t{4}}, {"scale", 0.5}, {"causal", false}, {"masks", kinds}, {"fills", fills}}});
  };
  masked("Attention_masked", {{1, 2, 5, 3}}, {kAddMask}, {0});
  masked("Attention_windows", {{2, 5, 3}, {2, 1, 5, 3}}, {kAddMask, kAddMask}, {0, 0});
  masked("Attention_filled", {{4, 1, 1, 3}, {5, 3}}, {kFillWhere, kFillWhereNot}, {-2, -3});
  const auto rotary = [&](const std::string& name, const Reals& frequencies, double scale) {
    c.all.push_back(token_case(name, "RotaryEmbedding", {16},
                               {{"head_size", int64_t{8}}, {"inverse_frequency", frequencies}, {"scale", scale}}));
  };
  rotary("RotaryEmbedding", {1, 0.1, 0.01, 0.001}, 1);
  rotary("RotaryEmbedding_partial", {1, 0.25}, 1.25);
}

inline void add_constant_cases(ExportCases& c) {
  TestGraph g;
  g.input("x", {2, 3});
  g.param("table", {3});
  g.node("Constant", {}, {"first"}, {{"value", "table"}});
  g.node("Constant", {}, {"second"}, {}, {{"shape", List{2, 1}}, {"values", Reals{0.5, -2}}});
  g.node("Add", {"x", "first"}, {"sum"});
  g.node("Mul", {"sum", "second"}, {"y"});
  g.output("y");
  g.output("first");  // an initialiser is an output
  g.output("x");      // and so is an input
  c.all.push_back({"Constant", std::move(g.graph), {{2, 3}}});
}

// A class token beside every sequence.
inline void add_expand_batch_case(ExportCases& c) {
  TestGraph g;
  g.input("x", {2, 3, 4});
  g.param("token", {1, 1, 4});
  g.node("Constant", {}, {"one"}, {{"value", "token"}});
  g.node("Expand", {"one", "x"}, {"each"}, {}, {{"shape", List{1, 1, 4}}});
  g.node("Concat", {"each", "x"}, {"y"}, {}, {{"axis", int64_t{1}}});
  g.output("y");
  c.all.push_back({"Expand_batch", std::move(g.graph), {{2, 3, 4}}, {{5, 3, 4}}});
}

inline std::vector<ExportCase> export_cases() {
  ExportCases c;
  add_elementwise_cases(c);
  add_linear_cases(c);
  add_norm_cases(c);
  add_window_cases(c);
  add_layout_cases(c);
  add_reduction_cases(c);
  add_attention_cases(c);
  add_constant_cases(c);
  add_expand_batch_case(c);
  return std::move(c.all);
}

}  // namespace espalier::test
