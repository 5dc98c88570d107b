// Small files that the library `onnx` wrote, against the numbers that it reads from them (tests/judge/onnx_judge.py
// --fixtures).
#include <gtest/gtest.h>

#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/order.h"
#include "espalier/io/onnx/reader.h"
#include "espalier/io/onnx/serialise.h"
#include "espalier/io/onnx/tensor.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data/onnx" / name;
}

TEST(OnnxFixtures, EveryTypeRawAndTyped) {
  const OnnxModel model = read_onnx(fixture("types.onnx"));
  const Json expected = read_json(fixture("expected.json"));
  ASSERT_EQ(model.graph.initializers.size(), expected.size());
  for (const OnnxTensor& stored : model.graph.initializers) {
    const Json& entry = expected.at(stored.name);
    const Tensor tensor = to_tensor(stored, "types.onnx");
    EXPECT_EQ(tensor.shape(), entry.at("shape").get<Shape>()) << stored.name;
    std::vector<float> values;
    for (const Json& value : entry.at("values")) values.push_back(static_cast<float>(value.get<double>()));
    EXPECT_EQ(tensor.to_floats(), values) << stored.name;
  }
}

TEST(OnnxFixtures, WrittenAgainByteForByte) {
  for (const char* name : {"types.onnx", "sparse.onnx", "control.onnx", "functions.onnx", "proto3.onnx"})
    EXPECT_EQ(to_string(serialise_onnx(read_onnx(fixture(name)))), read_file(fixture(name), 1u << 20)) << name;
}

TEST(OnnxFixtures, SparseInitialisersInBothForms) {
  const OnnxModel model = read_onnx(fixture("sparse.onnx"));
  const std::vector<float> expected{0, 1.5f, 0, 0, -2, 0, 0, 0, 0, 0, 0, 3};
  ASSERT_EQ(model.graph.sparse_initializers.size(), 2u);
  for (const OnnxSparseTensor& sparse : model.graph.sparse_initializers)
    EXPECT_EQ(to_tensor(sparse, "m").to_floats(), expected) << sparse.values.name;
}

TEST(OnnxFixtures, ControlFlowWithCaptures) {
  const OnnxModel model = read_onnx(fixture("control.onnx"));
  const OnnxNode& branch = model.graph.nodes.at(1);
  EXPECT_EQ(find_attribute(branch, "then_branch")->graphs.at(0).name, "then");
  const auto reads = onnx_reads(branch);
  EXPECT_EQ(reads, (std::vector<std::string_view>{"c", "h", "w", "h", "w"}));
  const auto& body = find_attribute(model.graph.nodes.at(2), "body")->graphs.at(0);
  EXPECT_EQ(body.inputs.at(0).type.elem_type, OnnxDataType::kInt64);
}

TEST(OnnxFixtures, Functions) {
  const OnnxModel model = read_onnx(fixture("functions.onnx"));
  ASSERT_EQ(model.functions.size(), 2u);
  EXPECT_EQ(model.functions[0].attributes, std::vector<std::string>{"slope"});
  EXPECT_EQ(model.functions[0].nodes.at(0).attributes.at(0).ref_attr_name, "slope");
  EXPECT_EQ(attribute_float(model.functions[1].nodes.at(1), "slope", 0, "m"), 0.25f);
}

// Proto3 packs lists and leaves zeros out.
TEST(OnnxFixtures, FileOfAProto3Writer) {
  const OnnxModel model = read_onnx(fixture("proto3.onnx"));
  EXPECT_EQ(attribute_ints(model.graph.nodes.at(0), "pads", {}, "m"), (std::vector<int64_t>{1, 1, 1, 1}));
  const Tensor weight = to_tensor(model.graph.initializers.at(0), "m");
  EXPECT_EQ(weight.shape(), (Shape{3, 2, 3, 3}));
  EXPECT_EQ(weight.to_floats().at(53), 53 / 8.0f);
}

}  // namespace
}  // namespace espalier
