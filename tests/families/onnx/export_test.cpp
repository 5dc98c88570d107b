// What exported models look like; the judges in tests/judge say that they compute the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "espalier/families/onnx/export.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/tensor.h"
#include "espalier/io/onnx/validate.h"
#include "espalier/structure/mask.h"
#include "tests/families/onnx/export_cases.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::ExportCase;
using test::List;
using test::OneNode;
using test::TestGraph;

OnnxModel exported(const OneNode& spec, int64_t opset = 17) {
  return export_onnx(test::one_node(spec), spec.inputs, nullptr, {.opset = opset});
}

std::vector<std::string> ops(const OnnxModel& model) {
  std::vector<std::string> names;
  for (const OnnxNode& node : model.graph.nodes) names.push_back(node.op_type);
  return names;
}

const OnnxTensor* initializer(const OnnxModel& model, const std::string& name) {
  for (const OnnxTensor& tensor : model.graph.initializers)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

std::vector<std::string> dims(const OnnxValueInfo& info) {
  std::vector<std::string> words;
  for (const OnnxDim& dim : info.type.shape)
    words.push_back(dim.value ? std::to_string(*dim.value) : dim.param.empty() ? "?" : dim.param);
  return words;
}

using Words = std::vector<std::string>;

// Operators that the specification has only from a set on.
int64_t introduced_in(const std::string& op) {
  static const std::map<std::string, int64_t> table = {
      {"Celu", 12},   {"LessOrEqual", 12}, {"GreaterOrEqual", 12}, {"HardSwish", 14}, {"Trilu", 14},
      {"LayerNormalization", 17}, {"Mish", 18}, {"GroupNormalization", 18}, {"Gelu", 20}};
  const auto found = table.find(op);
  return found == table.end() ? 11 : found->second;
}

TEST(OnnxExport, EveryOperatorHasAFormInEveryOperatorSet) {
  std::set<std::string> covered;
  for (const ExportCase& item : test::export_cases())
    for (int64_t opset = 11; opset <= 21; ++opset) {
      SCOPED_TRACE(fmt::format("{} at {}", item.name, opset));
      const OnnxModel model = export_onnx(item.graph, item.shapes, nullptr, {.opset = opset});
      validate_onnx(model, item.name);
      for (const OnnxNode& node : model.graph.nodes) EXPECT_LE(introduced_in(node.op_type), opset) << node.op_type;
      for (const Node& node : item.graph.nodes) covered.insert(node.op);
    }
  for (const std::string& op : operator_names())
    if (op != "Opaque") {
      EXPECT_TRUE(covered.count(op)) << op;
    }
}

TEST(OnnxExport, NamesAreTheGraphs) {
  const OnnxModel model = exported({"Linear", {{2, 4}}, {}, {{"weight", {5, 4}}, {"bias", {5}}}});
  ASSERT_EQ(ops(model), Words{"Gemm"});
  const OnnxNode& gemm = model.graph.nodes[0];
  EXPECT_EQ(gemm.name, "y0");
  EXPECT_EQ(gemm.inputs, (Words{"x0", "node.weight", "node.bias"}));
  EXPECT_EQ(gemm.outputs, Words{"y0"});
  EXPECT_EQ(attribute_int(gemm, "transB", 0, ""), 1);
  EXPECT_EQ(initializer(model, "node.weight")->dims, (Shape{5, 4}));
  EXPECT_EQ(model.graph.inputs[0].name, "x0");
  EXPECT_EQ(model.graph.outputs[0].name, "y0");
}

TEST(OnnxExport, AParameterMayHaveAValuesName) {
  TestGraph g;
  g.input("x", {2, 3});
  g.param("y", {3});
  g.node("Constant", {}, {"c"}, {{"value", "y"}});
  g.node("Add", {"x", "c"}, {"h"});
  g.node("Mul", {"h", "h"}, {"y"});
  g.output("y");
  const OnnxModel model = export_onnx(g.graph, {{2, 3}}, nullptr);
  validate_onnx(model, "test");
  EXPECT_EQ(model.graph.outputs[0].name, "y");
  EXPECT_EQ(model.graph.nodes[0].inputs, (Words{"x", "y_1"}));
  EXPECT_TRUE(initializer(model, "y_1"));
}

// MatMul wants [in, out]: stored so, unless an Embedding reads the parameter too.
TEST(OnnxExport, WeightsOfMatMulAreStoredTransposed) {
  const OneNode spec{"Linear", {{1, 3, 4}}, {}, {{"weight", {5, 4}}}};
  const Graph graph = test::one_node(spec);
  const OnnxModel model = export_onnx(graph, spec.inputs, nullptr);
  EXPECT_EQ(ops(model), Words{"MatMul"});
  const Tensor stored = to_tensor(*initializer(model, "node.weight"), "test");
  const Tensor own = graph.parameter("node.weight").load();
  ASSERT_EQ(stored.shape(), (Shape{4, 5}));
  for (size_t out = 0; out < 5; ++out)
    for (size_t in = 0; in < 4; ++in) EXPECT_EQ(stored.as<float>()[in * 5 + out], own.as<float>()[out * 4 + in]);
}

TEST(OnnxExport, ATiedWeightIsStoredOnce) {
  TestGraph g;
  g.input("ids", {1, 4});
  g.param("table", {7, 3});
  g.node("Embedding", {"ids"}, {"h"}, {{"weight", "table"}});
  g.node("Linear", {"h"}, {"y"}, {{"weight", "table"}});
  g.output("y");
  const OnnxModel model = export_onnx(g.graph, {{1, 4}}, nullptr);
  EXPECT_EQ(ops(model), (Words{"Gather", "Transpose", "MatMul"}));
  ASSERT_EQ(model.graph.initializers.size(), 1u);
  EXPECT_EQ(model.graph.initializers[0].dims, (Shape{7, 3}));
}

TEST(OnnxExport, FormsFollowTheOperatorSet) {
  const OneNode squeeze{"Squeeze", {{2, 1}}, {{"axes", List{1}}}};
  EXPECT_EQ(exported(squeeze, 12).graph.nodes[0].inputs.size(), 1u);
  EXPECT_EQ(attribute_ints(exported(squeeze, 12).graph.nodes[0], "axes", {}, ""), List{1});
  EXPECT_EQ(exported(squeeze, 13).graph.nodes[0].inputs.size(), 2u);
  const OneNode split{"Split", {{2, 3}}, {{"sizes", List{1, 2}}}, {}, 2};
  EXPECT_EQ(attribute_ints(exported(split, 12).graph.nodes[0], "split", {}, ""), (List{1, 2}));
  EXPECT_FALSE(find_attribute(exported(split, 13).graph.nodes[0], "split"));
  for (const auto& [op, opset] : std::map<std::string, int64_t>{{"ReduceSum", 13}, {"ReduceMean", 18}, {"ReduceMax", 18}}) {
    const OneNode spec{op, {{2, 3}}, {{"axes", List{1}}}};
    EXPECT_TRUE(find_attribute(exported(spec, opset - 1).graph.nodes[0], "axes")) << op;
    EXPECT_FALSE(find_attribute(exported(spec, opset).graph.nodes[0], "axes")) << op;
  }
  const OneNode softmax{"Softmax", {{2, 3, 4}}, {{"axis", int64_t{1}}}};
  EXPECT_EQ(ops(exported(softmax, 12)), (Words{"Transpose", "Softmax", "Transpose"}));
  EXPECT_EQ(ops(exported(softmax, 13)), Words{"Softmax"});
  const OneNode norm{"LayerNorm", {{2, 8}}, {{"epsilon", 1e-5}}, {{"weight", {8}}, {"bias", {8}}}};
  EXPECT_EQ(ops(exported(norm, 16)),
            (Words{"ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"}));
  EXPECT_EQ(ops(exported(norm, 17)), Words{"LayerNormalization"});
  const OneNode groups{"GroupNorm", {{2, 4, 6}}, {{"epsilon", 1e-5}, {"num_groups", int64_t{2}}}, {{"weight", {4}}}};
  EXPECT_EQ(ops(exported(groups, 18)), (Words{"Reshape", "InstanceNormalization", "Reshape", "Unsqueeze", "Mul"}));
  EXPECT_EQ(ops(exported(groups, 21)), Words{"GroupNormalization"});
  const OneNode gelu{"Activation", {{2, 3}}, {{"kind", std::string("gelu")}}};
  EXPECT_EQ(ops(exported(gelu, 19)), (Words{"Div", "Erf", "Add", "Mul", "Mul"}));
  EXPECT_EQ(ops(exported(gelu, 20)), Words{"Gelu"});
}

TEST(OnnxExport, IrVersionsGoWithOperatorSets) {
  const OneNode spec{"Add", {{2}, {2}}};
  EXPECT_EQ(exported(spec, 11).ir_version, 6);
  EXPECT_EQ(exported(spec, 17).ir_version, 8);
  EXPECT_EQ(exported(spec, 21).ir_version, 10);
  EXPECT_EQ(opset_version(exported(spec, 0).opset_imports, ""), 17);
}

TEST(OnnxExport, LengthsOfTextAreOpen) {
  const test::TempDir dir;
  const Model model = test::load_tiny(dir / "model", "llama");
  const OnnxModel made = export_onnx(model.graph, {{1, 8}}, nullptr);
  EXPECT_EQ(dims(made.graph.inputs[0]), (Words{"batch", "tokens"}));
  EXPECT_EQ(made.graph.inputs[0].type.elem_type, OnnxDataType::kInt64);
  EXPECT_EQ(dims(made.graph.outputs[0]), (Words{"batch", "tokens", "31"}));
  // Angles and the mask are made once for all blocks.
  const auto names = ops(made);
  EXPECT_EQ(std::count(names.begin(), names.end(), "Cos"), 1);
  EXPECT_EQ(std::count(names.begin(), names.end(), "Greater"), 1);
  EXPECT_EQ(std::count(names.begin(), names.end(), "Softmax"), 3);
}

// GPT-2's positions end at 64, so the shapes are tried with one token less.
TEST(OnnxExport, LengthsAreOpenAtTheLastPosition) {
  const test::TempDir dir;
  const Model model = test::load_tiny(dir / "model", "gpt2");
  EXPECT_EQ(dims(export_onnx(model.graph, {{1, 64}}, nullptr).graph.outputs[0]), (Words{"batch", "tokens", "31"}));
}

TEST(OnnxExport, ASizeThatTheGraphNeedsIsFixed) {
  TestGraph g;
  g.input("x", {2, 3, 4});
  g.node("Reshape", {"x"}, {"y"}, {}, {{"shape", List{2, 12}}});
  g.output("y");
  const OnnxModel model = export_onnx(g.graph, {{2, 3, 4}}, nullptr);
  EXPECT_EQ(dims(model.graph.inputs[0]), (Words{"2", "3", "4"}));
  EXPECT_EQ(dims(model.graph.outputs[0]), (Words{"2", "12"}));
}

TEST(OnnxExport, SizesThatMixOpenOnesAreUnknown) {
  TestGraph g;
  g.input("ids", {1, 5});
  g.param("table", {7, 3});
  g.node("Embedding", {"ids"}, {"h"}, {{"weight", "table"}});
  g.node("Reshape", {"h"}, {"y"}, {}, {{"shape", List{-1, 3}}});
  g.output("y");
  EXPECT_EQ(dims(export_onnx(g.graph, {{1, 5}}, nullptr).graph.outputs[0]), (Words{"?", "3"}));
}

TEST(OnnxExport, OtherTypesThanFp32AreCastWhereTheyAreRead) {
  TestGraph g;
  g.input("x", {2, 4});
  g.graph.add_parameter("w", Tensor::from_floats({3, 4}, test::tiny_values("w", {3, 4})).to(DType::kBF16));
  g.node("Linear", {"x"}, {"y"}, {{"weight", "w"}});
  g.output("y");
  const OnnxModel model = export_onnx(g.graph, {{2, 4}}, nullptr, {.opset = 13});
  EXPECT_EQ(ops(model), (Words{"Cast", "Gemm"}));
  EXPECT_EQ(initializer(model, "w")->data_type, OnnxDataType::kBfloat16);
  // Operator sets below 13 have no bf16.
  const OnnxModel old = export_onnx(g.graph, {{2, 4}}, nullptr, {.opset = 12});
  EXPECT_EQ(ops(old), Words{"Gemm"});
  EXPECT_EQ(to_tensor(*initializer(old, "w"), "test").to_floats(), g.graph.parameter("w").load().to_floats());
}

TEST(OnnxExport, EqualConstantsAreOneInitialiser) {
  TestGraph g;
  g.input("x", {2, 3});
  g.node("Unsqueeze", {"x"}, {"a"}, {}, {{"axes", List{1}}});
  g.node("Squeeze", {"a"}, {"y"}, {}, {{"axes", List{1}}});
  g.output("y");
  const OnnxModel model = export_onnx(g.graph, {{2, 3}}, nullptr);
  ASSERT_EQ(model.graph.initializers.size(), 1u);
  EXPECT_EQ(model.graph.initializers[0].name, "ints_1");
}

TEST(OnnxExport, RefusesWhatItCannotSay) {
  const OneNode add{"Add", {{2}, {2}}};
  ESP_EXPECT_USER_ERROR(exported(add, 10), "11 to 21");
  ESP_EXPECT_USER_ERROR(exported(add, 22), "11 to 21");
  const OneNode dilated{"AveragePool", {{1, 2, 9}}, {{"kernel_shape", List{2}}, {"dilations", List{2}}}};
  ESP_EXPECT_USER_ERROR(exported(dilated, 18), "1 in operator sets below 19");
  EXPECT_EQ(attribute_ints(exported(dilated, 19).graph.nodes[0], "dilations", {}, ""), List{2});
  const OneNode masked{"LayerNorm", {{2, 8}}, {{"epsilon", 1e-5}}, {{"mask", {8}}}};
  ESP_EXPECT_USER_ERROR(exported(masked), "cut the model instead");
}

TEST(OnnxExport, WritesAndReadsBack) {
  const test::TempDir dir;
  const OneNode spec{"Linear", {{2, 4}}, {}, {{"weight", {5, 4}}, {"bias", {5}}}};
  const Graph graph = test::one_node(spec);
  write_onnx_model(graph, spec.inputs, nullptr, dir / "model.onnx");
  write_onnx_model(graph, spec.inputs, nullptr, dir / "split.onnx", {},
                   {.external_data = OnnxExternalData::kAlways, .min_external_bytes = 1});
  EXPECT_TRUE(std::filesystem::exists(dir / "split.onnx.data"));
  ESP_EXPECT_USER_ERROR(write_onnx_model(graph, spec.inputs, nullptr, dir / "no" / "model.onnx"), "model.onnx");
}

TEST(OnnxExport, VerificationFindsEveryDifference) {
  const test::TempDir dir;
  const OnnxModel model = exported({"Linear", {{2, 4}}, {}, {{"weight", {5, 4}}, {"bias", {5}}}});
  const auto differs = [&](const std::string& words, const std::function<void(OnnxModel&)>& change) {
    OnnxModel other = model;
    change(other);
    write_onnx(other, dir / "model.onnx");
    ESP_EXPECT_USER_ERROR(verify_onnx(model, dir / "model.onnx"), words);
  };
  write_onnx(model, dir / "model.onnx");
  verify_onnx(model, dir / "model.onnx");
  differs("'node.bias': byte 2 is not what was written", [](OnnxModel& other) {
    std::string bytes(other.graph.initializers[0].data.view);
    bytes[2] ^= 1;
    other.graph.initializers[0].data = OnnxBytes::own(bytes);
  });
  differs("initialisers: expected 2, found 3",
          [](OnnxModel& other) { other.graph.initializers.push_back(onnx_tensor("more", Tensor(DType::kF32, {1}))); });
  differs("FLOAT [5, 4]", [](OnnxModel& other) { other.graph.initializers[1].data_type = OnnxDataType::kInt32; });
  differs("written node", [](OnnxModel& other) { other.graph.nodes[0].inputs.pop_back(); });
  differs("nodes: expected 1, found 2", [](OnnxModel& other) {
    other.graph.nodes.push_back(other.graph.nodes[0]);
    other.graph.nodes[1].outputs = {"again"};
  });
}

}  // namespace
}  // namespace espalier
