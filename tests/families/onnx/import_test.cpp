// Importing ONNX files: operators, constants, shape arithmetic, the batch, functions and branches.
#include "espalier/families/onnx/import.h"

#include <gtest/gtest.h>

#include "espalier/graph/operator.h"
#include "espalier/structure/coupling.h"
#include "tests/families/onnx/onnx_model.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

using Names = std::vector<std::string>;
using List = std::vector<int64_t>;

TEST(OnnxImport, ConvolutionAndClassifier) {
  const OnnxImport found =
      ModelBuilder()
          .input("x", {"n", 3, 8, 8})
          .weight("w", {4, 3, 3, 3})
          .weight("b", {4})
          .node("Conv", {"x", "w", "b"}, {"c"}, {onnx_ints("pads", {1, 1, 1, 1}), onnx_ints("strides", {2, 2})})
          .node("Relu", {"c"}, {"r"})
          .node("GlobalAveragePool", {"r"}, {"p"})
          .node("Flatten", {"p"}, {"f"})
          .weight("fc", {10, 4})
          .node("Gemm", {"f", "fc"}, {"y"}, {onnx_int("transB", 1)})
          .output("y")
          .import();
  EXPECT_EQ(operators(found.graph), (Names{"Conv", "Activation", "GlobalAveragePool", "Flatten", "Linear"}));
  EXPECT_EQ(shape_of(found.graph, "c"), (Shape{1, 4, 4, 4}));
  EXPECT_EQ(shape_of(found.graph, "y"), (Shape{1, 10}));
  EXPECT_EQ(found.input_shapes, (std::vector<Shape>{{1, 3, 8, 8}}));
  EXPECT_FALSE(only(found.graph, "Linear").flag_or("transposed", false));
  EXPECT_TRUE(found.notes.empty());
  EXPECT_EQ(found.graph.parameters()[0]->name(), "w");
  EXPECT_EQ(find_coupling(found.graph).groups.size(), 1u);
}

TEST(OnnxImport, AutoPadPutsTheOddPixelAtTheEndOrTheBegin) {
  for (const bool upper : {true, false}) {
    const OnnxImport found =
        ModelBuilder()
            .input("x", {1, 1, 5, 6})
            .weight("w", {1, 1, 2, 3})
            .node("Conv", {"x", "w"}, {"y"},
                  {onnx_string("auto_pad", upper ? "SAME_UPPER" : "SAME_LOWER"), onnx_ints("strides", {1, 2})})
            .output("y")
            .import();
    // Height: 5 windows of 2, 1 more row. Width: 3 windows of 3 with stride 2 reach 7, 1 more column.
    EXPECT_EQ(only(found.graph, "Conv").integers("pads"), upper ? (List{0, 0, 1, 1}) : (List{1, 1, 0, 0}));
    EXPECT_EQ(shape_of(found.graph, "y"), (Shape{1, 1, 5, 3}));
  }
}

TEST(OnnxImport, ProductsWithAStoredMatrixAreLinear) {
  const OnnxImport found = ModelBuilder()
                               .input("x", {"n", 5, 4})
                               .weight("w", {4, 6})
                               .node("MatMul", {"x", "w"}, {"m"})
                               .weight("b", {6})
                               .node("Add", {"b", "m"}, {"y"})
                               .output("y")
                               .import();
  EXPECT_EQ(operators(found.graph), Names{"Linear"});
  const Node& linear = only(found.graph, "Linear");
  EXPECT_TRUE(linear.flag_or("transposed", false));
  EXPECT_EQ(linear.params.at("weight"), "w");
  EXPECT_EQ(linear.params.at("bias"), "b");
  EXPECT_EQ(linear.outputs, found.graph.outputs);
}

TEST(OnnxImport, TheProductStaysWhereAnotherNodeReadsIt) {
  const OnnxImport found = ModelBuilder()
                               .input("x", {"n", 4})
                               .weight("w", {4, 6})
                               .node("MatMul", {"x", "w"}, {"m"})
                               .weight("b", {6})
                               .node("Add", {"m", "b"}, {"y"})
                               .output("y")
                               .output("m")
                               .import();
  EXPECT_EQ(operators(found.graph), (Names{"Linear", "Add"}));
}

// The embedding is the classifier too: one parameter, whichever way it lies.
TEST(OnnxImport, ATransposedWeightStaysTied) {
  const OnnxImport found = ModelBuilder()
                               .input("ids", {"n", 3}, OnnxDataType::kInt64)
                               .weight("table", {7, 4})
                               .node("Gather", {"table", "ids"}, {"e"})
                               .node("Transpose", {"table"}, {"t"}, {onnx_ints("perm", {1, 0})})
                               .node("MatMul", {"e", "t"}, {"y"})
                               .output("y")
                               .import();
  EXPECT_EQ(operators(found.graph), (Names{"Embedding", "Linear"}));
  EXPECT_EQ(only(found.graph, "Linear").params.at("weight"), "table");
  EXPECT_FALSE(only(found.graph, "Linear").flag_or("transposed", false));
  EXPECT_EQ(found.graph.parameters().size(), 1u);
}

TEST(OnnxImport, GemmScalesItsWeights) {
  const OnnxImport found = ModelBuilder()
                               .input("x", {"n", 2})
                               .floats("w", {2, 3}, {1, 2, 3, 4, 5, 6})
                               .floats("c", {1, 3}, {1, 1, 2})
                               .node("Gemm", {"x", "w", "c"}, {"y"}, {onnx_float("alpha", 0.5f), onnx_float("beta", 2)})
                               .output("y")
                               .import();
  const Node& linear = only(found.graph, "Linear");
  EXPECT_EQ(found.graph.parameter_of(linear, "weight").load().to_floats(),
            (std::vector<float>{0.5f, 1, 1.5f, 2, 2.5f, 3}));
  EXPECT_EQ(found.graph.parameter_of(linear, "bias").load().to_floats(), (std::vector<float>{2, 2, 4}));
  EXPECT_EQ(found.graph.parameter_of(linear, "bias").shape(), Shape{3});
}

TEST(OnnxImport, DropoutAndIdentityLeaveNothing) {
  const OnnxImport found = ModelBuilder()
                               .input("x", {"n", 4})
                               .node("Dropout", {"x"}, {"d"})
                               .node("Identity", {"d"}, {"i"})
                               .node("Relu", {"i"}, {"r"})
                               .node("Identity", {"r"}, {"y"})
                               .output("y")
                               .import();
  EXPECT_EQ(operators(found.graph), Names{"Activation"});
  EXPECT_EQ(shape_of(found.graph, "y"), (Shape{1, 4}));
}

TEST(OnnxImport, AnOutputThatIsAnInputIsAValueOfItsOwn) {
  const OnnxImport found = ModelBuilder().input("x", {"n", 4}).node("Identity", {"x"}, {"y"}).output("y").import();
  EXPECT_EQ(operators(found.graph), Names{"Cast"});
  EXPECT_NE(found.graph.inputs, found.graph.outputs);
}

// view(x.size(0), -1) as exporters write it.
OnnxModel computed_reshape(const std::vector<ModelDim>& dims) {
  return ModelBuilder()
      .input("x", dims)
      .node("Shape", {"x"}, {"s"})
      .ints("zero", {0}, true)
      .node("Gather", {"s", "zero"}, {"n"})
      .ints("axes", {0})
      .node("Unsqueeze", {"n", "axes"}, {"n1"})
      .ints("rest", {-1})
      .node("Concat", {"n1", "rest"}, {"shape"}, {onnx_int("axis", 0)})
      .node("Reshape", {"x", "shape"}, {"y"})
      .output("y")
      .model;
}

TEST(OnnxImport, ShapesComputedFromTheBatchFollowIt) {
  OnnxImport found = import_onnx(computed_reshape({"n", 3, 2, 2}));
  EXPECT_EQ(operators(found.graph), Names{"Reshape"});
  EXPECT_EQ(only(found.graph, "Reshape").integers("shape"), (List{0, -1}));
  infer_shapes(found.graph, {{5, 3, 2, 2}});
  EXPECT_EQ(shape_of(found.graph, "y"), (Shape{5, 12}));
}

struct BakedCase {
  Shape in, shape;
  List expected;
  Shape five;  // of the output when the batch is 5 times what it was
};

// Reshapes with every number baked in for the batch of the file, dim 0 of the input.
TEST(OnnxImport, BakedReshapesFollowTheBatch) {
  const BakedCase cases[] = {
      {{1, 3, 4}, {1, 12}, {0, 12}, {5, 12}},
      {{1, 3, 4}, {1, -1}, {0, -1}, {5, 12}},
      {{1, 12}, {-1, 3, 4}, {-1, 3, 4}, {5, 3, 4}},
      {{1, 8, 6}, {4, 2, 6}, {-1, 2, 6}, {20, 2, 6}},   // windows
      {{1, 8, 6}, {4, -1, 6}, {-1, 2, 6}, {20, 2, 6}},  // the number that was left open is 2
      {{1, 3, 2, 4}, {1, 2, 3, 4}, {0, 2, 3, 4}, {5, 2, 3, 4}},
      {{2, 6}, {4, 3}, {-1, 3}, {20, 3}},
      {{2, 6}, {2, 2, 3}, {0, 2, 3}, {10, 2, 3}},
  };
  for (const BakedCase& c : cases) {
    std::vector<ModelDim> dims;
    for (int64_t size : c.in) dims.emplace_back(size);
    OnnxImport found =
        ModelBuilder().input("x", dims).ints("s", c.shape).node("Reshape", {"x", "s"}, {"y"}).output("y").import();
    EXPECT_EQ(only(found.graph, "Reshape").integers("shape"), c.expected) << to_string(c.shape);
    Shape five = c.in;
    five[0] *= 5;
    infer_shapes(found.graph, {five});
    EXPECT_EQ(shape_of(found.graph, "y"), c.five) << to_string(c.shape);
  }
}

// PyTorch's multi-head attention works on [tokens, batch, width], files of one batch on [tokens, 1, width].
TEST(OnnxImport, TokensBeforeTheBatchStayBeforeIt) {
  OnnxImport found = ModelBuilder()
                         .input("x", {1, 7, 6})
                         .node("Transpose", {"x"}, {"t"}, {onnx_ints("perm", {1, 0, 2})})
                         .ints("rows", {7, 6})
                         .node("Reshape", {"t", "rows"}, {"flat"})
                         .weight("w", {6, 6})
                         .node("MatMul", {"flat", "w"}, {"m"})
                         .ints("apart", {7, 1, 6})
                         .node("Reshape", {"m", "apart"}, {"p"})
                         .ints("heads", {7, 2, 3})
                         .node("Reshape", {"p", "heads"}, {"h"})
                         .output("h")
                         .output("m")  // else the Linear would do without the Reshapes
                         .import();
  infer_shapes(found.graph, {{5, 7, 6}});
  EXPECT_EQ(shape_of(found.graph, "flat"), (Shape{35, 6}));
  EXPECT_EQ(shape_of(found.graph, "p"), (Shape{7, 5, 6}));
  EXPECT_EQ(shape_of(found.graph, "h"), (Shape{7, 10, 3}));
}

TEST(OnnxImport, AClassTokenFollowsTheBatch) {
  for (const bool baked : {true, false}) {
    ModelBuilder b;
    b.input("x", {baked ? ModelDim(1) : ModelDim("n"), 5, 4}).weight("cls", {1, 1, 4});
    if (baked) {
      b.node("Concat", {"cls", "x"}, {"y"}, {onnx_int("axis", 1)});
    } else {
      b.node("Shape", {"x"}, {"s"}).ints("z", {0}).node("Gather", {"s", "z"}, {"n"}).ints("keep", {-1, -1});
      b.node("Concat", {"n", "keep"}, {"wanted"}, {onnx_int("axis", 0)});
      b.ints("ones", {1, 1, 1}).node("Max", {"wanted", "ones"}, {"shape"});
      b.node("Expand", {"cls", "shape"}, {"rows"}).node("Concat", {"rows", "x"}, {"y"}, {onnx_int("axis", 1)});
    }
    OnnxImport found = b.output("y").import();
    EXPECT_EQ(operators(found.graph), (Names{"Expand", "Concat"}));
    infer_shapes(found.graph, {{9, 5, 4}});
    EXPECT_EQ(shape_of(found.graph, "y"), (Shape{9, 6, 4}));
  }
}

// Positions, a mask and a token type that an exporter computes from the shape of the ids.
TEST(OnnxImport, ConstantsThatRepeatOverTheBatchAreMadeOnce) {
  OnnxImport found = ModelBuilder()
                         .input("ids", {"n", 4}, OnnxDataType::kInt64)
                         .node("Shape", {"ids"}, {"s"})
                         .node("ConstantOfShape", {"s"}, {"types"},
                               {onnx_tensor_attribute("value",
                                                      [] {
                                                        Tensor one(DType::kI64, {1});
                                                        one.mutable_as<int64_t>()[0] = 1;
                                                        return onnx_tensor("", one);
                                                      }())})
                         .weight("table", {2, 3})
                         .node("Gather", {"table", "types"}, {"t"})
                         .weight("words", {9, 3})
                         .node("Gather", {"words", "ids"}, {"w"})
                         .node("Add", {"w", "t"}, {"y"})
                         .output("y")
                         .import();
  infer_shapes(found.graph, {{6, 4}});
  EXPECT_EQ(shape_of(found.graph, "y"), (Shape{6, 4, 3}));
  EXPECT_EQ(only(found.graph, "Gather").integers("indices"), (List{1, 1, 1, 1}));
  EXPECT_TRUE(found.notes.empty());
}

TEST(OnnxImport, NewOperatorSetsTakeAxesAsInputs) {
  for (const int64_t opset : {11, 13, 18}) {
    ModelBuilder b(opset);
    b.input("x", {"n", 1, 4, 6})
        .ints("one", {1})
        .ints("pair", {2, 4})
        .ints("pads", {0, 0, 1, 0, 0, 0})
        .ints("mean", {-1});
    const bool inputs = opset >= 13;
    b.node("Squeeze", inputs ? Names{"x", "one"} : Names{"x"}, {"q"},
           inputs ? std::vector<OnnxAttribute>{} : std::vector{onnx_ints("axes", {1})});
    b.node("Split", inputs ? Names{"q", "pair"} : Names{"q"}, {"a", "b"},
           inputs ? std::vector{onnx_int("axis", 2)} : std::vector{onnx_int("axis", 2), onnx_ints("split", {2, 4})});
    b.node("Pad", {"a", "pads"}, {"p"});
    b.node("ReduceMean", opset >= 18 ? Names{"b", "mean"} : Names{"b"}, {"r"},
           opset >= 18 ? std::vector<OnnxAttribute>{} : std::vector{onnx_ints("axes", {-1})});
    const OnnxImport found = b.output("p").output("r").import();
    EXPECT_EQ(shape_of(found.graph, "p"), (Shape{1, 4, 3})) << opset;
    EXPECT_EQ(shape_of(found.graph, "r"), (Shape{1, 4, 1})) << opset;
  }
}

TEST(OnnxImport, SoftmaxOfOldOperatorSetsRunsOverTheRest) {
  const auto model = [](int64_t opset) {
    return ModelBuilder(opset).input("x", {"n", 3, 4}).node("Softmax", {"x"}, {"y"}, {onnx_int("axis", 1)}).output("y");
  };
  EXPECT_EQ(operators(model(13).import().graph), Names{"Softmax"});
  EXPECT_EQ(operators(model(11).import().graph), (Names{"Reshape", "Softmax", "Reshape"}));
  EXPECT_EQ(shape_of(model(11).import().graph, "y"), (Shape{1, 3, 4}));
}

TEST(OnnxImport, UpsampleRoundsDown) {
  const OnnxImport found = ModelBuilder(9)
                               .input("x", {"n", 2, 4, 4})
                               .floats("s", {4}, {1, 1, 2, 2})
                               .node("Upsample", {"x", "s"}, {"y"}, {onnx_string("mode", "nearest")})
                               .output("y")
                               .import();
  const Node& resize = only(found.graph, "Resize");
  EXPECT_EQ(resize.text("coordinates"), "asymmetric");
  EXPECT_EQ(resize.text("nearest_mode"), "floor");
  EXPECT_EQ(shape_of(found.graph, "y"), (Shape{1, 2, 8, 8}));
}

TEST(OnnxImport, DepthToSpaceIsALayoutChain) {
  const OnnxImport found =
      ModelBuilder()
          .input("x", {"n", 8, 3, 5})
          .node("DepthToSpace", {"x"}, {"y"}, {onnx_int("blocksize", 2), onnx_string("mode", "CRD")})
          .output("y")
          .import();
  EXPECT_EQ(operators(found.graph), (Names{"Reshape", "Transpose", "Reshape"}));
  EXPECT_EQ(shape_of(found.graph, "y"), (Shape{1, 2, 6, 10}));
}

TEST(OnnxImport, EinsumOfTwoMatrices) {
  const OnnxImport found = ModelBuilder()
                               .input("q", {"n", 2, 5, 4})
                               .input("k", {"n", 2, 7, 4})
                               .node("Einsum", {"q", "k"}, {"y"}, {onnx_string("equation", "bhid,bhjd->bhij")})
                               .output("y")
                               .import();
  EXPECT_EQ(operators(found.graph), (Names{"Transpose", "MatMul"}));
  EXPECT_EQ(shape_of(found.graph, "y"), (Shape{1, 2, 5, 7}));
}

TEST(OnnxImport, ScalarsNeverJoinAGroup) {
  const OnnxImport found = ModelBuilder()
                               .input("x", {"n", 3})
                               .weight("w", {3, 4})
                               .node("MatMul", {"x", "w"}, {"h"})
                               .number("two", 2)
                               .node("Mul", {"h", "two"}, {"d"})
                               .weight("v", {4, 2})
                               .node("MatMul", {"d", "v"}, {"y"})
                               .output("y")
                               .import();
  const Coupling coupling = find_coupling(found.graph);
  ASSERT_EQ(coupling.groups.size(), 1u);
  EXPECT_EQ(coupling.groups[0].set_count, 4);
  for (const CouplingMember& member : coupling.groups[0].members) EXPECT_NE(member.param, "two");
}

TEST(OnnxImport, HalfPrecisionWeightsStayAsTheyAre) {
  ModelBuilder b;
  b.input("x", {"n", 2}, OnnxDataType::kFloat16);
  b.model.graph.initializers.push_back(
      onnx_tensor("w", Tensor::from_floats({2, 3}, std::vector<float>(6, 0.5f)).to(DType::kF16)));
  const OnnxImport found = b.node("MatMul", {"x", "w"}, {"y"}).output("y").import();
  EXPECT_EQ(found.graph.parameter("w").dtype(), DType::kF16);
}

OnnxFunction double_and_relu(const std::string& unknown = "") {
  OnnxFunction f;
  f.name = "Act";
  f.domain = "local";
  f.inputs = {"x"};
  f.outputs = {"y"};
  f.attributes = {"factor"};
  f.opset_imports.push_back({"", 17, {}});
  OnnxNode constant = ModelBuilder::made("Constant", {}, {"c"});
  OnnxAttribute reference = onnx_float("value_float", 0);
  reference.ref_attr_name = "factor";
  constant.attributes = {reference};
  f.nodes = {constant, ModelBuilder::made("Mul", {"x", "c"}, {"m"}),
             ModelBuilder::made(unknown.empty() ? "Relu" : unknown, {"m"}, {"y"})};
  return f;
}

TEST(OnnxImport, FunctionsAreTakenApart) {
  ModelBuilder b;
  b.model.opset_imports.push_back({"local", 1, {}});
  b.model.functions.push_back(double_and_relu());
  const OnnxImport found = b.input("x", {"n", 4})
                               .node("Act", {"x"}, {"a"}, {onnx_float("factor", 3)}, "local")
                               .node("Act", {"a"}, {"y"}, {onnx_float("factor", 5)}, "local")
                               .output("y")
                               .import();
  EXPECT_EQ(operators(found.graph), (Names{"Mul", "Activation", "Mul", "Activation"}));
  std::vector<float> factors;
  for (const auto& parameter : found.graph.parameters()) factors.push_back(parameter->load().to_floats()[0]);
  EXPECT_EQ(factors, (std::vector<float>{3, 5}));
}

TEST(OnnxImport, AFunctionWithAnUnknownOperatorIsKept) {
  ModelBuilder b;
  b.model.opset_imports.push_back({"local", 1, {}});
  b.model.functions.push_back(double_and_relu("Hardmax"));
  b.model.graph.value_infos.push_back(ModelBuilder::info("y", {"n", 4}));
  const OnnxImport found =
      b.input("x", {"n", 4}).node("Act", {"x"}, {"y"}, {onnx_float("factor", 3)}, "local").output("y").import();
  EXPECT_EQ(operators(found.graph), Names{"Opaque"});
  EXPECT_EQ(found.source->opaque.begin()->second.op_type, "Act");
  ASSERT_EQ(found.notes.size(), 1u);
}

OnnxGraph branch(const std::string& op, const std::string& output) {
  OnnxGraph graph;
  graph.name = output;
  graph.nodes = {ModelBuilder::made(op, {"h"}, {output})};
  graph.outputs.push_back(ModelBuilder::info(output, {"n", 4}));
  return graph;
}

TEST(OnnxImport, ABranchThatIsKnownIsTaken) {
  ModelBuilder b;
  Tensor condition(DType::kBool, {});
  condition.mutable_bytes()[0] = std::byte{0};
  b.model.graph.initializers.push_back(onnx_tensor("no", condition));
  const OnnxImport found = b.input("x", {"n", 4})
                               .node("Sigmoid", {"x"}, {"h"})
                               .node("If", {"no"}, {"y"},
                                     {onnx_graph_attribute("then_branch", branch("Relu", "t")),
                                      onnx_graph_attribute("else_branch", branch("Tanh", "e"))})
                               .output("y")
                               .import();
  EXPECT_EQ(operators(found.graph), (Names{"Activation", "Activation"}));
  EXPECT_EQ(found.graph.nodes.back().text("kind"), "tanh");
}

TEST(OnnxImport, ABranchThatIsNotKnownIsKeptWithWhatItCaptures) {
  ModelBuilder b;
  b.model.graph.value_infos.push_back(ModelBuilder::info("y", {"n", 4}));
  const OnnxImport found = b.input("x", {"n", 4})
                               .input("flag", {}, OnnxDataType::kBool)
                               .weight("w", {4, 4})
                               .node("MatMul", {"x", "w"}, {"m"})
                               .node("Identity", {"m"}, {"h"})
                               .node("If", {"flag"}, {"y"},
                                     {onnx_graph_attribute("then_branch", branch("Relu", "t")),
                                      onnx_graph_attribute("else_branch", branch("Tanh", "e"))})
                               .output("y")
                               .import();
  const Node& kept = only(found.graph, "Opaque");
  ASSERT_EQ(kept.inputs.size(), 2u);
  EXPECT_EQ(found.graph.values[static_cast<size_t>(kept.inputs[1])].name, "h");
  EXPECT_TRUE(find_coupling(found.graph).groups.empty());  // what it captures is frozen
}

TEST(OnnxImport, UnknownOperatorsFreezeWhatTheyTouch) {
  ModelBuilder b;
  b.model.opset_imports.push_back({"vendor", 1, {}});
  b.model.graph.value_infos.push_back(ModelBuilder::info("u", {"n", 5}));
  const OnnxImport found = b.input("x", {"n", 3})
                               .weight("w", {3, 4})
                               .node("MatMul", {"x", "w"}, {"h"})
                               .node("Fancy", {"h"}, {"u"}, {}, "vendor")
                               .weight("v", {5, 2})
                               .node("MatMul", {"u", "v"}, {"y"})
                               .output("y")
                               .import();
  const Node& kept = only(found.graph, "Opaque");
  EXPECT_EQ(kept.text("op_type"), "vendor.Fancy");
  EXPECT_EQ(kept.integers("shape.0"), (List{1, 5}));
  EXPECT_TRUE(find_coupling(found.graph).groups.empty());
  ASSERT_EQ(found.notes.size(), 1u);
  EXPECT_NE(found.notes[0].find("Fancy"), std::string::npos);
}

TEST(OnnxImport, NodeNamesAreThoseOfTheFileWhereTheyAreUnique) {
  ModelBuilder b;
  b.input("x", {"n", 4}).node("Relu", {"x"}, {"a"}).node("Tanh", {"a"}, {"b"}).node("Exp", {"b"}, {"y"}).output("y");
  b.model.graph.nodes[0].name = "twice";
  b.model.graph.nodes[1].name = "twice";
  b.model.graph.nodes[2].name = "once";
  const OnnxImport found = b.import();
  EXPECT_EQ(found.graph.nodes[0].name, "a");
  EXPECT_EQ(found.graph.nodes[1].name, "b");
  EXPECT_EQ(found.graph.nodes[2].name, "once");
}

TEST(OnnxImport, ManyNodesImportInSeconds) {
  ModelBuilder b;
  b.input("x", {"n", 4});
  std::string last = "x";
  for (int i = 0; i < 100'000; ++i) {
    const std::string next = fmt::format("v{}", i);
    b.node(i % 3 == 0 ? "Relu" : "Identity", {last}, {next});
    last = next;
  }
  const OnnxImport found = b.output(last).import();
  EXPECT_EQ(found.graph.nodes.size(), 33'334u);
}

// As CLIP picks its last token and DINOv2 stretches its positions: what is not understood needs no stated shape where it
// follows from the inputs.
TEST(OnnxImport, ShapesOfWhatIsKeptAreComputed) {
  ModelBuilder b;
  b.input("x", {"n", 3, 8, 8}).input("at", {"n"}, OnnxDataType::kInt64).floats("scales", {4}, {1, 1, 1.5f, 0.5f}).ints("sizes", {1, 3, 5, 6}).weight("w", {1, 3, 4, 4});
  b.node("Resize", {"x", "", "scales"}, {"r"}, {onnx_string("mode", "cubic")}).node("Resize", {"w", "", "", "sizes"}, {"s"}, {onnx_string("mode", "cubic")});
  b.node("Gather", {"x", "at"}, {"g"}, {onnx_int("axis", 2)});
  OnnxImport found = b.node("Relu", {"r"}, {"y"}).node("Relu", {"s"}, {"z"}).node("Relu", {"g"}, {"v"}).output("y").output("z").output("v").import();
  EXPECT_EQ(found.source->opaque.size(), 3u);
  EXPECT_EQ(shape_of(found.graph, "y"), (Shape{1, 3, 12, 4}));
  EXPECT_EQ(shape_of(found.graph, "z"), (Shape{1, 3, 5, 6}));
  EXPECT_EQ(shape_of(found.graph, "v"), (Shape{1, 3, 1, 8}));
}

// Numbers of the rows of a batch are baked in, so what is written must not promise to take any.
TEST(OnnxImport, ABatchThatStaysIsStated) {
  ModelBuilder b;
  b.input("x", {"n", 4}).ints("zero", {0}, true).ints("step", {1}, true).ints("axes", {1}).node("Shape", {"x"}, {"s"});
  b.node("Gather", {"s", "zero"}, {"n"}).node("Range", {"zero", "n", "step"}, {"r"}).node("Cast", {"r"}, {"f"}, {onnx_int("to", 1)});
  const OnnxImport found = b.node("Unsqueeze", {"f", "axes"}, {"u"}).node("Add", {"x", "u"}, {"y"}).output("y").import();
  ASSERT_EQ(found.notes.size(), 1u);
  EXPECT_TRUE(found.notes[0].starts_with("the batch stays 1: ")) << found.notes[0];
  EXPECT_EQ(found.source->model.graph.inputs[0].type.shape[0].value, 1);
  EXPECT_TRUE(found.source->model.graph.inputs[0].type.shape[0].param.empty());
}

}  // namespace
}  // namespace espalier::test
