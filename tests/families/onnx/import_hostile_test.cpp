// What the importer refuses, in one line that names file and node, and what it must not spend on hostile numbers.
#include <gtest/gtest.h>

#include "tests/families/onnx/onnx_model.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

TEST(OnnxImportHostile, OpenSizesWherePruningNeedsNumbers) {
  const ModelBuilder b =
      ModelBuilder().input("picture", {"n", 3, "height", "width"}).node("Relu", {"picture"}, {"y"}).output("y");
  ESP_EXPECT_USER_ERROR(b.import(), "m.onnx: input 'picture': dim 2 'height': expected a number");
  OnnxImportOptions options;
  options.input_shapes["picture"] = {2, 3, 8, 6};
  EXPECT_EQ(b.import(options).input_shapes[0], (Shape{2, 3, 8, 6}));
  EXPECT_EQ(b.import(options).notes.size(), 2u);
  options.input_shapes["picture"] = {2, 4, 8, 6};
  ESP_EXPECT_USER_ERROR(b.import(options), "dim 1 of the given shape: expected 3, found 4");
  options.input_shapes["picture"] = {2, 3, 8};
  ESP_EXPECT_USER_ERROR(b.import(options), "expected 4 dims");
  options.input_shapes = {{"other", {1}}};
  ESP_EXPECT_USER_ERROR(b.import({{{"picture", {1, 3, 4, 4}}, {"other", {1}}}}), "names of inputs, found other");
}

TEST(OnnxImportHostile, ShapesThatContradict) {
  ModelBuilder b;
  b.input("x", {"n", 4}).weight("w", {5, 6}).node("MatMul", {"x", "w"}, {"y"}).output("y");
  b.model.graph.nodes[0].name = "classifier";
  ESP_EXPECT_USER_ERROR(
      b.import(),
      "m.onnx: node 'classifier' (MatMul): classifier: input width of the weight: expected 4, found [5, 6]");
}

TEST(OnnxImportHostile, ReshapeWithBakedConstantsOfAnotherSize) {
  const ModelBuilder b =
      ModelBuilder().input("x", {1, 12}).ints("s", {1, 5, 3}).node("Reshape", {"x", "s"}, {"y"}).output("y");
  ESP_EXPECT_USER_ERROR(b.import(), "expected as many elements as [1, 5, 3], found [1, 12]");
}

TEST(OnnxImportHostile, UnsupportedOperatorSet) {
  const ModelBuilder b = ModelBuilder(22).input("x", {1, 2}).node("Relu", {"x"}, {"y"}).output("y");
  ESP_EXPECT_USER_ERROR(b.import(), "m.onnx");
}

TEST(OnnxImportHostile, MissingInputOfANode) {
  const ModelBuilder b = ModelBuilder().input("x", {1, 2}).node("Add", {"x"}, {"y"}).output("y");
  ESP_EXPECT_USER_ERROR(b.import(), "input 1: expected a value, found none");
}

TEST(OnnxImportHostile, AnOpaqueOutputWithoutAShape) {
  ModelBuilder b;
  b.model.opset_imports.push_back({"vendor", 1, {}});
  b.input("x", {1, 2}).node("Fancy", {"x"}, {"u"}, {}, "vendor").node("Relu", {"u"}, {"y"}).output("y");
  ESP_EXPECT_USER_ERROR(b.import(), "shape of the output 'u': expected one in the file's value_info, found none");
}

// Each of these numbers would take terabytes if anybody believed it.
TEST(OnnxImportHostile, AbsurdSizesAllocateNothing) {
  const int64_t huge = int64_t{1} << 40;
  ModelBuilder fill;
  fill.input("x", {1, 2})
      .ints("s", {huge, huge})
      .node("ConstantOfShape", {"s"}, {"c"})
      .node("Add", {"x", "c"}, {"y"})
      .output("y");
  EXPECT_THROW(fill.import(), UserError);
  ModelBuilder range;
  range.input("x", {1, 2}).ints("a", {0}, true).ints("b", {huge}, true).ints("c", {1}, true);
  range.node("Range", {"a", "b", "c"}, {"r"})
      .node("Cast", {"r"}, {"f"}, {onnx_int("to", 1)})
      .node("Add", {"x", "f"}, {"y"})
      .output("y");
  EXPECT_THROW(range.import(), UserError);
  ModelBuilder expand;
  expand.input("x", {1, 1}).ints("s", {huge, huge}).node("Expand", {"x", "s"}, {"y"}).output("y");
  EXPECT_THROW(expand.import(), UserError);
  ModelBuilder pad;
  pad.input("x", {1, 1}).ints("p", {0, 0, 0, huge}).node("Pad", {"x", "p"}, {"y"}).output("y");
  EXPECT_THROW(pad.import(), UserError);
  ModelBuilder input;
  input.input("x", {1, huge}).node("Relu", {"x"}, {"y"}).output("y");
  ESP_EXPECT_USER_ERROR(input.import(), "sizes of at most 2^24");
}

// Functions that call the next one twice: 2^40 nodes if they were all taken apart.
TEST(OnnxImportHostile, FunctionsThatMultiply) {
  ModelBuilder b;
  b.model.opset_imports.push_back({"local", 1, {}});
  for (int i = 0; i < 31; ++i) {
    OnnxFunction f;
    f.name = fmt::format("f{}", i);
    f.domain = "local";
    f.inputs = {"x"};
    f.outputs = {"y"};
    f.opset_imports = {{"", 17, {}}, {"local", 1, {}}};
    const std::string inner = i == 0 ? "Relu" : fmt::format("f{}", i - 1), domain = i == 0 ? "" : "local";
    f.nodes = {ModelBuilder::made(inner, {"x"}, {"m"}, {}, domain),
               ModelBuilder::made(inner, {"m"}, {"y"}, {}, domain)};
    b.model.functions.push_back(f);
  }
  b.input("x", {1, 2}).node("f30", {"x"}, {"y"}, {}, "local").output("y");
  ESP_EXPECT_USER_ERROR(b.import(), "at most 2^19");
}

TEST(OnnxImportHostile, DivisionByZeroIsNotFolded) {
  ModelBuilder b;
  b.input("x", {1, 2})
      .ints("a", {4})
      .ints("zero", {0})
      .node("Div", {"a", "zero"}, {"d"})
      .node("Reshape", {"x", "d"}, {"y"})
      .output("y");
  EXPECT_THROW(b.import(), UserError);
}

TEST(OnnxImportHostile, IndicesOutOfRange) {
  const ModelBuilder b = ModelBuilder()
                             .input("x", {1, 3})
                             .ints("i", {7})
                             .node("Gather", {"x", "i"}, {"y"}, {onnx_int("axis", 1)})
                             .output("y");
  ESP_EXPECT_USER_ERROR(b.import(), "expected -3 to 2, found 7");
}

TEST(OnnxImportHostile, AxisOutOfRange) {
  const ModelBuilder b =
      ModelBuilder().input("x", {1, 3}).node("Softmax", {"x"}, {"y"}, {onnx_int("axis", 5)}).output("y");
  ESP_EXPECT_USER_ERROR(b.import(), "axis: expected -2 to 1, found 5");
}

TEST(OnnxImportHostile, AttributesOfAnotherType) {
  const ModelBuilder b =
      ModelBuilder().input("x", {1, 3}).node("Softmax", {"x"}, {"y"}, {onnx_string("axis", "last")}).output("y");
  ESP_EXPECT_USER_ERROR(b.import(), "attribute 'axis'");
}

}  // namespace
}  // namespace espalier::test
