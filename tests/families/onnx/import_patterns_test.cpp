// Decomposed norms and activations, attention, and the groups that come of them.
#include <gtest/gtest.h>

#include <functional>

#include "espalier/structure/coupling.h"
#include "tests/families/onnx/onnx_model.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

using Names = std::vector<std::string>;
using List = std::vector<int64_t>;

// (x − mean) / sqrt(mean((x − mean)²) + ε) · weight + bias, as PyTorch writes it before operator set 17.
void layer_norm(ModelBuilder& b, const std::string& x, const std::string& y, bool twice = false) {
  const auto axes = std::vector{onnx_ints("axes", {-1})};
  b.node("ReduceMean", {x}, {y + "m"}, axes).node("Sub", {x, y + "m"}, {y + "d"});
  if (twice) b.node("Sub", {x, y + "m"}, {y + "d2"});
  const std::string d = twice ? y + "d2" : y + "d";
  if (twice) {
    b.node("Mul", {d, d}, {y + "q"});
  } else {
    b.node("Pow", {d, "two"}, {y + "q"});
  }
  b.node("ReduceMean", {y + "q"}, {y + "v"}, axes).node("Add", {"eps", y + "v"}, {y + "e"});
  b.node("Sqrt", {y + "e"}, {y + "s"}).node("Div", {y + "d", y + "s"}, {y + "n"});
  b.node("Mul", {"gamma", y + "n"}, {y + "g"}).node("Add", {y + "g", "beta"}, {y});
}

ModelBuilder norm_model() {
  ModelBuilder b(14);
  b.input("x", {"n", 5, 3}).weight("up", {3, 4}).node("MatMul", {"x", "up"}, {"h"});
  b.number("two", 2)
      .number("eps", 1e-5f)
      .number("one", 1)
      .weight("gamma", {4})
      .weight("beta", {4})
      .weight("down", {4, 2});
  return b;
}

TEST(OnnxPatterns, LayerNorm) {
  for (const bool twice : {false, true}) {
    ModelBuilder b = norm_model();
    layer_norm(b, "h", "n", twice);
    const OnnxImport found = b.node("MatMul", {"n", "down"}, {"y"}).output("y").import();
    EXPECT_EQ(operators(found.graph), (Names{"Linear", "LayerNorm", "Linear"}));
    const Node& norm = only(found.graph, "LayerNorm");
    EXPECT_EQ(norm.params.at("weight"), "gamma");
    EXPECT_EQ(norm.params.at("bias"), "beta");
    EXPECT_FLOAT_EQ(static_cast<float>(norm.real("epsilon")), 1e-5f);
    const Coupling coupling = find_coupling(found.graph);
    ASSERT_EQ(coupling.groups.size(), 1u);
    EXPECT_EQ(coupling.groups[0].set_count, 4);
    EXPECT_EQ(coupling.groups[0].members.size(), 4u);
  }
}

TEST(OnnxPatterns, ALayerNormWhoseMeanIsAnOutputKeepsTheMean) {
  ModelBuilder b = norm_model();
  layer_norm(b, "h", "n");
  const OnnxImport found = b.node("MatMul", {"n", "down"}, {"y"}).output("y").output("nm").import();
  EXPECT_EQ(operators(found.graph), (Names{"Linear", "ReduceMean", "LayerNorm", "Linear"}));
}

TEST(OnnxPatterns, LayerNormWithoutWeights) {
  ModelBuilder b = norm_model();
  layer_norm(b, "h", "n");
  b.model.graph.nodes.resize(b.model.graph.nodes.size() - 2);
  const OnnxImport found = b.node("MatMul", {"nn", "down"}, {"y"}).output("y").import();
  EXPECT_EQ(operators(found.graph), (Names{"Linear", "LayerNorm", "Linear"}));
  EXPECT_TRUE(only(found.graph, "LayerNorm").params.empty());
}

TEST(OnnxPatterns, RmsNorm) {
  for (const std::string form : {"divide", "one over", "reciprocal"}) {
    ModelBuilder b = norm_model();
    b.node("Pow", {"h", "two"}, {"q"}).node("ReduceMean", {"q"}, {"v"}, {onnx_ints("axes", {2})});
    b.node("Add", {"v", "eps"}, {"e"}).node("Sqrt", {"e"}, {"s"});
    if (form == "divide") b.node("Div", {"h", "s"}, {"n"});
    if (form == "one over") b.node("Div", {"one", "s"}, {"i"}).node("Mul", {"h", "i"}, {"n"});
    if (form == "reciprocal") b.node("Reciprocal", {"s"}, {"i"}).node("Mul", {"i", "h"}, {"n"});
    const OnnxImport found =
        b.node("Mul", {"gamma", "n"}, {"g"}).node("MatMul", {"g", "down"}, {"y"}).output("y").import();
    EXPECT_EQ(operators(found.graph), (Names{"Linear", "RMSNorm", "Linear"})) << form;
    EXPECT_EQ(only(found.graph, "RMSNorm").params.at("weight"), "gamma");
    EXPECT_EQ(find_coupling(found.graph).groups.size(), 1u);
  }
}

TEST(OnnxPatterns, GroupNorm) {
  ModelBuilder b;
  b.input("x", {"n", 3, 4, 4}).weight("w", {6, 3, 1, 1}).node("Conv", {"x", "w"}, {"h"});
  b.ints("apart", {0, 2, -1})
      .node("Reshape", {"h", "apart"}, {"r"})
      .floats("ones", {2}, {1, 1})
      .floats("zeros", {2}, {0, 0});
  b.node("InstanceNormalization", {"r", "ones", "zeros"}, {"i"})
      .node("Shape", {"h"}, {"s"})
      .node("Reshape", {"i", "s"}, {"g"});
  b.weight("gamma", {6, 1, 1})
      .weight("beta", {6, 1, 1})
      .node("Mul", {"g", "gamma"}, {"m"})
      .node("Add", {"m", "beta"}, {"y"})
      .output("y");
  const OnnxImport found = b.import();
  EXPECT_EQ(operators(found.graph), (Names{"Conv", "GroupNorm"}));
  const Node& norm = only(found.graph, "GroupNorm");
  EXPECT_EQ(norm.integer("num_groups"), 2);
  EXPECT_EQ(found.graph.parameter_of(norm, "weight").shape(), Shape{6});
}

struct ActivationCase {
  std::string kind;
  std::function<void(ModelBuilder&)> write;  // from x to y
};

std::vector<ActivationCase> activation_cases() {
  using B = ModelBuilder;
  auto erf = [](B& b) {
    b.node("Div", {"x", "root2"}, {"a"}).node("Erf", {"a"}, {"e"}).node("Add", {"e", "one"}, {"p"});
  };
  auto half = [](B& b) {
    b.number("root2", 1.41421356f).number("rhalf", 0.70710678f).number("half", 0.5f).number("one", 1);
  };
  auto tanh = [](B& b) {
    b.number("half", 0.5f).number("one", 1).number("cube", 0.044715f).number("scale", 0.79788456f).number("three", 3);
  };
  return {
      {"gelu",
       [=](B& b) {
         half(b), erf(b), b.node("Mul", {"x", "p"}, {"m"}).node("Mul", {"m", "half"}, {"y"});
       }},
      {"gelu",
       [=](B& b) {
         half(b), erf(b), b.node("Mul", {"x", "half"}, {"m"}).node("Mul", {"m", "p"}, {"y"});
       }},
      {"gelu",
       [=](B& b) {
         half(b), erf(b), b.node("Mul", {"half", "p"}, {"m"}).node("Mul", {"m", "x"}, {"y"});
       }},
      {"gelu",
       [=](B& b) {
         half(b), b.node("Mul", {"rhalf", "x"}, {"a"}).node("Erf", {"a"}, {"e"}).node("Add", {"one", "e"}, {"p"});
         b.node("Mul", {"p", "half"}, {"m"}).node("Mul", {"x", "m"}, {"y"});
       }},
      {"gelu_tanh",
       [=](B& b) {
         tanh(b), b.node("Pow", {"x", "three"}, {"c"}).node("Mul", {"c", "cube"}, {"k"}).node("Add", {"x", "k"}, {"s"});
         b.node("Mul", {"s", "scale"}, {"t"}).node("Tanh", {"t"}, {"e"}).node("Add", {"e", "one"}, {"p"});
         b.node("Mul", {"x", "half"}, {"m"}).node("Mul", {"m", "p"}, {"y"});
       }},
      {"gelu_tanh",
       [=](B& b) {
         tanh(b), b.node("Mul", {"x", "x"}, {"q"}).node("Mul", {"q", "cube"}, {"k"}).node("Add", {"one", "k"}, {"s"});
         b.node("Mul", {"x", "scale"}, {"l"}).node("Mul", {"l", "s"}, {"t"}).node("Tanh", {"t"}, {"e"});
         b.node("Add", {"e", "one"}, {"p"}).node("Mul", {"half", "p"}, {"m"}).node("Mul", {"m", "x"}, {"y"});
       }},
      {"silu",
       [](B& b) {
         b.node("Sigmoid", {"x"}, {"s"}).node("Mul", {"s", "x"}, {"y"});
       }},
      {"quick_gelu",
       [](B& b) {
         b.number("f", 1.702f)
             .node("Mul", {"x", "f"}, {"m"})
             .node("Sigmoid", {"m"}, {"s"})
             .node("Mul", {"x", "s"}, {"y"});
       }},
      {"hardswish",
       [](B& b) {
         b.number("three", 3).number("six", 6).number("zero", 0).node("Add", {"x", "three"}, {"a"});
         b.node("Clip", {"a", "zero", "six"}, {"c"}).node("Mul", {"x", "c"}, {"m"}).node("Div", {"m", "six"}, {"y"});
       }},
      {"hardswish",
       [](B& b) {
         b.number("three", 3).number("six", 6).number("zero", 0).node("Add", {"x", "three"}, {"a"});
         b.node("Clip", {"a", "zero", "six"}, {"c"}).node("Div", {"c", "six"}, {"s"}).node("Mul", {"x", "s"}, {"y"});
       }},
      {"hardswish",
       [](B& b) {
         b.node("HardSigmoid", {"x"}, {"s"}, {onnx_float("alpha", 1.0f / 6), onnx_float("beta", 0.5f)})
             .node("Mul", {"x", "s"}, {"y"});
       }},
      {"mish",
       [](B& b) {
         b.node("Softplus", {"x"}, {"p"}).node("Tanh", {"p"}, {"t"}).node("Mul", {"x", "t"}, {"y"});
       }},
  };
}

TEST(OnnxPatterns, Activations) {
  for (const ActivationCase& c : activation_cases()) {
    ModelBuilder b;
    b.input("x", {"n", 4});
    c.write(b);
    const OnnxImport found = b.output("y").import();
    ASSERT_EQ(operators(found.graph), Names{"Activation"}) << c.kind;
    EXPECT_EQ(found.graph.nodes.back().text("kind"), c.kind);
    EXPECT_EQ(found.graph.nodes.back().inputs, found.graph.inputs);
  }
}

// The same shape of graph with another constant is another function.
TEST(OnnxPatterns, OtherConstantsAreNotFused) {
  ModelBuilder b;
  b.input("x", {"n", 4}).number("root2", 1.5f).number("half", 0.5f).number("one", 1);
  b.node("Div", {"x", "root2"}, {"a"}).node("Erf", {"a"}, {"e"}).node("Add", {"e", "one"}, {"p"});
  b.node("Mul", {"x", "p"}, {"m"}).node("Mul", {"m", "half"}, {"y"}).output("y");
  EXPECT_EQ(operators(b.import().graph), (Names{"Div", "Activation", "Add", "Mul", "Mul"}));
}

// Heads of 2 of a width of 8; grouped queries with 2 K and V heads of 4, or packed QKV.
struct AttentionModel {
  bool grouped = false, packed_split = false, packed_gather = false;
};

OnnxModel attention(const AttentionModel& kind) {
  ModelBuilder b;
  const int64_t heads = 4, size = 2, width = 8, kv = kind.grouped ? 2 : 4;
  b.input("x", {"n", 5, 3}).weight("embed", {3, width}).node("MatMul", {"x", "embed"}, {"h"});
  b.ints("q_shape", {0, 5, heads, size})
      .ints("kv_shape", {0, 5, kv, size})
      .ints("packed_shape", {0, 5, 3, heads, size});
  const Names parts = {"q", "k", "v"};
  if (kind.packed_split || kind.packed_gather) {
    b.weight("wqkv", {width, 3 * width}).node("MatMul", {"h", "wqkv"}, {"qkv"});
    if (kind.packed_split)
      b.ints("sizes", {width, width, width}).node("Split", {"qkv", "sizes"}, {"q0", "k0", "v0"}, {onnx_int("axis", 2)});
    if (kind.packed_gather)
      b.node("Reshape", {"qkv", "packed_shape"}, {"r"})
          .node("Transpose", {"r"}, {"rt"}, {onnx_ints("perm", {2, 0, 3, 1, 4})});
  }
  for (size_t i = 0; i < 3; ++i) {
    const std::string& p = parts[i];
    if (kind.packed_gather) {
      b.ints("i" + p, {static_cast<int64_t>(i)}, true)
          .node("Gather", {"rt", "i" + p}, {p + "h"}, {onnx_int("axis", 0)});
      continue;
    }
    if (!kind.packed_split)
      b.weight("w" + p, {width, (i ? kv : heads) * size}).node("MatMul", {"h", "w" + p}, {p + "0"});
    b.node("Reshape", {p + "0", i ? "kv_shape" : "q_shape"}, {p + "r"})
        .node("Transpose", {p + "r"}, {p + "h"}, {onnx_ints("perm", {0, 2, 1, 3})});
    if (!kind.grouped || i == 0) continue;
    b.ints("two" + p, {2}).node("Unsqueeze", {p + "h", "two" + p}, {p + "u"}).ints("e" + p, {1, kv, 2, 5, size});
    b.node("Expand", {p + "u", "e" + p}, {p + "x"})
        .ints("m" + p, {0, heads, 5, size})
        .node("Reshape", {p + "x", "m" + p}, {p + "g"});
  }
  const std::string k = kind.grouped ? "kg" : "kh", v = kind.grouped ? "vg" : "vh";
  b.node("Transpose", {k}, {"kt"}, {onnx_ints("perm", {0, 1, 3, 2})}).node("MatMul", {"qh", "kt"}, {"s"});
  b.node("Softmax", {"s"}, {"p"}, {onnx_int("axis", -1)}).node("MatMul", {"p", v}, {"o"});
  b.node("Transpose", {"o"}, {"ot"}, {onnx_ints("perm", {0, 2, 1, 3})})
      .ints("flat", {0, 5, width})
      .node("Reshape", {"ot", "flat"}, {"c"});
  b.weight("wo", {width, width}).node("MatMul", {"c", "wo"}, {"a"}).node("Add", {"a", "h"}, {"res"});
  return b.weight("head", {width, 2}).node("MatMul", {"res", "head"}, {"y"}).output("y").model;
}

// Spec A.7: one set per K and V head, which holds the rows of Q, K and V and the columns of O.
TEST(OnnxPatterns, HeadsFormSets) {
  for (const AttentionModel& kind : {AttentionModel{}, AttentionModel{.grouped = true},
                                     AttentionModel{.packed_split = true}, AttentionModel{.packed_gather = true}}) {
    const OnnxImport found = import_onnx(attention(kind));
    const Coupling coupling = find_coupling(found.graph);
    const bool packed = kind.packed_split || kind.packed_gather;
    SCOPED_TRACE(describe_groups(coupling));
    ASSERT_EQ(coupling.groups.size(), 2u);
    EXPECT_TRUE(coupling.unknown_operators.empty());
    const List sets = {coupling.groups[0].set_count, coupling.groups[1].set_count};
    EXPECT_EQ(sets, (List{8, kind.grouped ? 2 : 4}));
    const auto wo = coupling.canonical_sets("wo", 0);
    ASSERT_EQ(wo.size(), 8u);
    for (size_t i = 0; i < 8; ++i) EXPECT_EQ(wo[i], wo[0] + static_cast<int32_t>(i / (kind.grouped ? 4 : 2)));
    const auto rows = coupling.canonical_sets(packed ? "wqkv" : "wk", 1);
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], wo[i % 8 * (kind.grouped ? 2 : 1)]);
  }
}

// A mask that is expanded for every head before Where would freeze the heads.
TEST(OnnxPatterns, AnExpandBeforeBroadcastingGoes) {
  ModelBuilder b;
  b.input("x", {"n", 5, 3})
      .input("mask", {"n", 1, 1, 5}, OnnxDataType::kBool)
      .weight("w", {3, 8})
      .node("MatMul", {"x", "w"}, {"h"});
  b.ints("heads", {0, 5, 4, 2})
      .node("Reshape", {"h", "heads"}, {"r"})
      .node("Transpose", {"r"}, {"q"}, {onnx_ints("perm", {0, 2, 1, 3})});
  b.node("Transpose", {"q"}, {"k"}, {onnx_ints("perm", {0, 1, 3, 2})})
      .node("MatMul", {"q", "k"}, {"s"})
      .node("Shape", {"s"}, {"full"});
  b.node("Expand", {"mask", "full"}, {"wide"}).number("low", -1e9f).node("Where", {"wide", "low", "s"}, {"m"});
  b.node("Softmax", {"m"}, {"p"}, {onnx_int("axis", -1)}).node("MatMul", {"p", "q"}, {"o"});
  b.node("Transpose", {"o"}, {"t"}, {onnx_ints("perm", {0, 2, 1, 3})})
      .ints("flat", {0, 5, 8})
      .node("Reshape", {"t", "flat"}, {"c"});
  const OnnxImport found = b.weight("v", {8, 2}).node("MatMul", {"c", "v"}, {"y"}).output("y").import();
  EXPECT_EQ(operators(found.graph), (Names{"Linear", "Attention", "Linear"}));
  const Node& attention = only(found.graph, "Attention");
  ASSERT_EQ(attention.inputs.size(), 4u);
  EXPECT_EQ(attention.inputs[3], found.graph.inputs[1]);
  const Coupling coupling = find_coupling(found.graph);
  ASSERT_EQ(coupling.groups.size(), 1u);
  EXPECT_EQ(coupling.groups[0].set_count, 4);
}

// Rows of a table that these positions leave out are not free to go.
TEST(OnnxPatterns, TablesKeepTheirRows) {
  ModelBuilder b;
  b.input("x", {"n", 4, 3})
      .weight("table", {9, 3})
      .ints("positions", {0, 1, 2, 3})
      .node("Gather", {"table", "positions"}, {"p"});
  const OnnxImport found = b.node("Add", {"x", "p"}, {"y"}).output("y").import();
  EXPECT_TRUE(find_coupling(found.graph).groups.empty());
}

TEST(OnnxPatterns, CopiesOfOneVectorAreTwoParameters) {
  ModelBuilder b;
  b.input("x", {"n", 3})
      .weight("w1", {3, 4})
      .floats("b1", {4}, {0, 0, 0, 0})
      .node("Identity", {"b1"}, {"b2"})
      .weight("w2", {4, 4});
  b.node("Gemm", {"x", "w1", "b1"}, {"h"})
      .node("Relu", {"h"}, {"r"})
      .node("Gemm", {"r", "w2", "b2"}, {"g"})
      .node("Relu", {"g"}, {"s"});
  const OnnxImport found = b.weight("w3", {4, 2}).node("Gemm", {"s", "w3"}, {"y"}).output("y").import();
  EXPECT_TRUE(found.graph.has_parameter("b2"));
  EXPECT_EQ(find_coupling(found.graph).groups.size(), 2u);
}

TEST(OnnxPatterns, RepeatedHeadsAreARepeat) {
  ModelBuilder b;
  b.input("x", {"n", 5, 6}).ints("one", {1}).ints("two", {2}).ints("size", {1, 1, 2, 5, 6}).ints("whole", {0, 2, 5, 6});
  b.node("Unsqueeze", {"x", "one"}, {"h"}).node("Unsqueeze", {"h", "two"}, {"u"}).node("Expand", {"u", "size"}, {"e"});
  const OnnxImport found = b.node("Reshape", {"e", "whole"}, {"y"}).output("y").import();
  const Node& repeat = only(found.graph, "Repeat");
  EXPECT_EQ(repeat.integer("axis"), 1);
  EXPECT_EQ(repeat.integer("repeats"), 2);
}

}  // namespace
}  // namespace espalier::test
