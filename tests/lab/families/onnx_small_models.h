// Small ONNX models, each of operators that belong together, whose outputs onnxruntime has computed
// (onnx_operators_test.cpp). Inputs are sin(0.37 i + 0.1).
#pragma once

#include <fmt/format.h>

#include "tests/families/onnx/onnx_model.h"

namespace espalier::test {

struct SmallModel {
  std::string name;
  ModelBuilder model;
};

inline OnnxAttribute whole(const char* name, int64_t value) { return onnx_int(name, value); }
inline OnnxAttribute list(const char* name, std::vector<int64_t> values) { return onnx_ints(name, std::move(values)); }
inline OnnxAttribute word(const char* name, const char* value) { return onnx_string(name, value); }
inline OnnxAttribute real(const char* name, float value) { return onnx_float(name, value); }

inline ModelBuilder pools() {
  ModelBuilder b;
  b.input("x", {"n", 2, 6, 7});
  b.node("MaxPool", {"x"}, {"a"},
         {list("kernel_shape", {3, 3}), list("strides", {2, 2}), whole("ceil_mode", 1), list("pads", {1, 1, 0, 0})});
  b.node("AveragePool", {"x"}, {"b"},
         {list("kernel_shape", {3, 2}), list("pads", {1, 1, 1, 0}), whole("count_include_pad", 1)});
  b.node("AveragePool", {"x"}, {"c"},
         {list("kernel_shape", {2, 3}), list("strides", {2, 2}), word("auto_pad", "SAME_LOWER")});
  b.node("MaxPool", {"x"}, {"d"}, {list("kernel_shape", {2, 2}), list("dilations", {2, 3})})
      .node("GlobalMaxPool", {"x"}, {"e"});
  return b.output("a").output("b").output("c").output("d").output("e");
}

inline ModelBuilder convolutions() {
  ModelBuilder b;
  b.input("x", {"n", 4, 5, 6})
      .weight("w", {4, 2, 3, 3})
      .weight("bias", {4})
      .weight("up", {4, 3, 2, 3}, 2)
      .weight("ug", {4, 2, 3, 3}, 3);
  b.node("Conv", {"x", "w", "bias"}, {"a"},
         {whole("group", 2), list("dilations", {1, 2}), list("pads", {0, 2, 1, 1}), list("strides", {2, 1})});
  b.node("ConvTranspose", {"x", "up"}, {"b"},
         {list("strides", {2, 3}), list("output_padding", {1, 2}), list("pads", {1, 0, 0, 1})});
  b.node("ConvTranspose", {"x", "ug", "bias"}, {"c"},
         {whole("group", 2), list("output_shape", {10, 12}), list("strides", {2, 2})});
  b.weight("w1", {3, 4, 3})
      .ints("flat", {0, 4, -1})
      .node("Reshape", {"x", "flat"}, {"r"})
      .node("Conv", {"r", "w1"}, {"d"}, {word("auto_pad", "SAME_UPPER"), list("strides", {4})});
  return b.output("a").output("b").output("c").output("d");
}

inline ModelBuilder resizes() {
  ModelBuilder b(13);
  b.input("x", {"n", 2, 4, 5}).floats("none", {0}, {}).floats("s", {4}, {1, 1, 1.5f, 2.2f}).ints("z", {1, 2, 7, 3});
  b.node("Resize", {"x", "none", "s"}, {"a"},
         {word("mode", "linear"), word("coordinate_transformation_mode", "half_pixel")});
  b.node("Resize", {"x", "none", "none", "z"}, {"b"},
         {word("mode", "linear"), word("coordinate_transformation_mode", "align_corners")});
  b.node(
      "Resize", {"x", "none", "s"}, {"c"},
      {word("mode", "nearest"), word("coordinate_transformation_mode", "asymmetric"), word("nearest_mode", "floor")});
  b.node("Resize", {"x", "none", "none", "z"}, {"d"},
         {word("mode", "nearest"), word("nearest_mode", "round_prefer_ceil")});
  b.node("Resize", {"x", "none", "none", "z"}, {"e"},
         {word("mode", "nearest"), word("coordinate_transformation_mode", "pytorch_half_pixel"),
          word("nearest_mode", "ceil")});
  return b.output("a").output("b").output("c").output("d").output("e");
}

inline ModelBuilder products() {
  ModelBuilder b;
  b.input("x", {3, 4})
      .input("q", {2, 3, 4})
      .weight("w", {3, 5})
      .weight("c", {1, 5})
      .weight("k", {2, 5, 4})
      .weight("v", {4})
      .weight("m", {4, 6})
      .weight("s", {3, 1});
  b.node("Gemm", {"x", "w", "c"}, {"a"}, {whole("transA", 1), real("alpha", 0.7f), real("beta", -1.5f)});
  b.node("Gemm", {"x", "m", "s"}, {"b"}, {real("alpha", 2)});
  b.node("MatMul", {"q", "v"}, {"c1"}).node("MatMul", {"v", "m"}, {"c2"}).node("MatMul", {"q", "m"}, {"c3"});
  b.node("Einsum", {"q", "k"}, {"d"}, {word("equation", "bij,bkj->ibk")})
      .node("Einsum", {"q", "m"}, {"e"}, {word("equation", "bij,jk->bki")});
  return b.output("a").output("b").output("c1").output("c2").output("c3").output("d").output("e");
}

inline ModelBuilder layouts() {
  ModelBuilder b;
  b.input("x", {"n", 4, 5, 6})
      .ints("crop", {0, 0, -1, 1, 0, 0, 2, -2})
      .ints("edge", {0, 0, 2, 1, 0, 0, 1, 3})
      .number("five", 5);
  b.node("Pad", {"x", "crop", "five"}, {"a"})
      .node("Pad", {"x", "edge"}, {"b"}, {word("mode", "reflect")})
      .node("Pad", {"x", "edge"}, {"c"}, {word("mode", "edge")});
  b.ints("from", {-1, 0})
      .ints("to", {-100, -1})
      .ints("axes", {3, 1})
      .ints("steps", {-2, 2})
      .node("Slice", {"x", "from", "to", "axes", "steps"}, {"d"});
  b.ints("times", {1, 2, 1, 3})
      .node("Tile", {"x", "times"}, {"e"})
      .node("Split", {"x"}, {"f", "g"}, {whole("axis", 1)});
  b.ints("grid", {1, 0, 3, 2, 2, 1})
      .ints("grid_shape", {2, 3})
      .node("Reshape", {"grid", "grid_shape"}, {"idx"})
      .node("Gather", {"x", "idx"}, {"h"}, {whole("axis", 1)});
  b.node("DepthToSpace", {"x"}, {"i"}, {whole("blocksize", 2)})
      .node("DepthToSpace", {"x"}, {"j"}, {whole("blocksize", 2), word("mode", "CRD")});
  b.node("SpaceToDepth", {"e"}, {"k0"}, {whole("blocksize", 1)})
      .node("Slice", {"x", "zero", "four", "two"}, {"even"})
      .ints("zero", {0})
      .ints("four", {4})
      .ints("two", {2});
  b.node("SpaceToDepth", {"even"}, {"k"}, {whole("blocksize", 2)});
  for (const char* name : {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k0", "k"}) b.output(name);
  return b;
}

inline ModelBuilder reductions(int64_t opset) {
  ModelBuilder b(opset);
  b.input("x", {"n", 4, 5}).ints("axes", {-1});
  for (const char* op : {"ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMin", "ReduceMax"}) {
    if (opset >= 18) b.node(op, {"x", "axes"}, {op}, {whole("keepdims", 0)});
    if (opset < 18) b.node(op, {"x"}, {op}, {list("axes", {-1}), whole("keepdims", 0)});
    b.output(op);
  }
  b.node("Exp", {"x"}, {"e"})
      .node("ReduceLogSum", {"e"}, {"ls"},
            opset >= 18 ? std::vector<OnnxAttribute>{} : std::vector{list("axes", {1, 2})});
  b.node("ArgMin", {"x"}, {"am0"}, {whole("axis", 2)})
      .node("Cast", {"am0"}, {"am"}, {whole("to", 1)})
      .node("ArgMax", {"x"}, {"ax0"}, {whole("axis", 1), whole("keepdims", 0)});
  b.node("Cast", {"ax0"}, {"ax"}, {whole("to", 1)})
      .node("Softmax", {"x"}, {"s"}, {whole("axis", 1)})
      .node("LogSoftmax", {"x"}, {"l"}, {whole("axis", 2)});
  return b.output("ls").output("am").output("ax").output("s").output("l");
}

inline ModelBuilder activations() {
  ModelBuilder b(20);
  b.input("x", {"n", 3, 4})
      .floats("slope", {3, 1}, {0.1f, 0.2f, -0.3f})
      .number("low", -0.3f)
      .number("high", 0.4f)
      .number("two", 2);
  b.node("Mul", {"x", "two"}, {"z"});
  const auto add = [&](const char* op, std::vector<OnnxAttribute> attributes = {}) {
    const std::string name = fmt::format("y{}", b.model.graph.outputs.size());
    b.node(op, {"z"}, {name}, std::move(attributes)).output(name);
  };
  for (const char* op :
       {"Relu",  "Sigmoid", "Tanh",  "Softplus", "Softsign", "Erf", "HardSwish", "Mish",        "Exp",  "Abs", "Sign",
        "Floor", "Ceil",    "Round", "Sin",      "Cos",      "Neg", "Selu",      "HardSigmoid", "Gelu", "Celu"})
    add(op);
  add("Elu", {real("alpha", 0.6f)}), add("LeakyRelu", {real("alpha", 0.2f)}), add("Celu", {real("alpha", 0.4f)});
  add("HardSigmoid", {real("alpha", 0.3f), real("beta", 0.4f)}), add("Gelu", {word("approximate", "tanh")});
  b.node("PRelu", {"z", "slope"}, {"p"})
      .node("Clip", {"z", "low", "high"}, {"c"})
      .node("Clip", {"z", "", "high"}, {"d"});
  b.node("ReduceMax", {"x"}, {"m"}, {whole("keepdims", 0)}).node("Clip", {"z", "low", "m"}, {"e"});
  return b.output("p").output("c").output("d").output("e");
}

inline ModelBuilder norms(int64_t opset) {
  ModelBuilder b(opset);
  const int64_t weights = opset >= 21 ? 6 : 2;
  b.input("x", {"n", 6, 3, 4})
      .weight("g", {weights})
      .weight("h", {weights}, 2)
      .weight("c", {6})
      .weight("d", {6}, 2)
      .floats("var", {6}, {1, 2, 3, 0.5f, 0.7f, 1.1f})
      .weight("l", {4})
      .weight("k", {4}, 3);
  b.node("GroupNormalization", {"x", "g", "h"}, {"y0"}, {whole("num_groups", 2), real("epsilon", 1e-3f)});
  b.node("InstanceNormalization", {"x", "c", "d"}, {"y1"})
      .node("BatchNormalization", {"x", "c", "d", "c", "var"}, {"y2"}, {real("epsilon", 1e-2f)});
  b.node("LayerNormalization", {"x", "l", "k"}, {"y3"})
      .node("LayerNormalization", {"x", "l"}, {"y4"}, {whole("axis", 3), real("epsilon", 0.1f)});
  return b.output("y0").output("y1").output("y2").output("y3").output("y4");
}

inline ModelBuilder choices() {
  ModelBuilder b;
  b.input("x", {"n", 3, 4}).input("z", {"n", 1, 4}).weight("w", {3, 1}).number("half", 0.5f);
  b.node("Greater", {"x", "w"}, {"g"})
      .node("Less", {"z", "half"}, {"l"})
      .node("And", {"g", "l"}, {"and"})
      .node("Not", {"and"}, {"not"});
  b.node("Where", {"and", "x", "w"}, {"a"})
      .node("Where", {"not", "half", "x"}, {"b"})
      .node("Max", {"x", "z", "w"}, {"c"})
      .node("Min", {"x", "half"}, {"d"});
  b.node("Sum", {"x", "z", "w"}, {"e"})
      .node("Mean", {"x", "z", "w"}, {"f"})
      .node("Equal", {"x", "x"}, {"q"})
      .node("Cast", {"q"}, {"h"}, {whole("to", 1)});
  b.number("two", 2)
      .node("Pow", {"x", "two"}, {"i"})
      .node("Sub", {"half", "x"}, {"j0"})
      .node("Div", {"j0", "i"}, {"j"})
      .node("LessOrEqual", {"x", "z"}, {"k0"})
      .node("Xor", {"k0", "g"}, {"k1"})
      .node("Cast", {"k1"}, {"k"}, {whole("to", 1)});
  for (const char* name : {"a", "b", "c", "d", "e", "f", "h", "i", "j", "k"}) b.output(name);
  return b;
}

// As TensorFlow's converter writes it: pictures [n, h, w, c] with transposes around every convolution.
inline ModelBuilder channels_last() {
  ModelBuilder b(13);
  b.input("x", {"n", 6, 6, 3})
      .weight("w", {4, 3, 3, 3})
      .weight("b", {4})
      .weight("dw", {4, 1, 3, 3}, 2)
      .weight("fc", {4, 5})
      .weight("bias", {1, 1, 1, 4}, 4);
  b.node("Transpose", {"x"}, {"t"}, {list("perm", {0, 3, 1, 2})})
      .node("Conv", {"t", "w", "b"}, {"c"}, {word("auto_pad", "SAME_UPPER"), list("strides", {2, 2})});
  b.node("Transpose", {"c"}, {"u"}, {list("perm", {0, 2, 3, 1})})
      .node("Add", {"u", "bias"}, {"a"})
      .number("zero", 0)
      .number("six", 6)
      .node("Clip", {"a", "zero", "six"}, {"r"});
  b.node("Transpose", {"r"}, {"v"}, {list("perm", {0, 3, 1, 2})})
      .node("Conv", {"v", "dw"}, {"d"}, {whole("group", 4), word("auto_pad", "SAME_LOWER")});
  b.node("Transpose", {"d"}, {"e"}, {list("perm", {0, 2, 3, 1})})
      .node("ReduceMean", {"e"}, {"m"}, {list("axes", {1, 2}), whole("keepdims", 0)});
  return b.node("MatMul", {"m", "fc"}, {"l"}).node("Softmax", {"l"}, {"y"}, {whole("axis", -1)}).output("y");
}

inline std::vector<SmallModel> small_models() {
  return {{"pools", pools()},
          {"convolutions", convolutions()},
          {"resizes", resizes()},
          {"products", products()},
          {"layouts", layouts()},
          {"reductions_13", reductions(13)},
          {"reductions_18", reductions(18)},
          {"activations", activations()},
          {"norms_18", norms(18)},
          {"norms_21", norms(21)},
          {"choices", choices()},
          {"channels_last", channels_last()}};
}

}  // namespace espalier::test
