#include <gtest/gtest.h>

#include "espalier/core/file.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/order.h"
#include "tests/io/onnx/onnx_bytes.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace pb = test::pb;

const std::string& small_model() {
  static const std::string kFile =
      pb::number(1, 8) + pb::bytes(2, "maker") + pb::bytes(3, "2.1") +
      pb::bytes(7, pb::graph({{pb::node("Conv", {"x", "w", ""}, {"h"},
                                        pb::attribute("alpha", 1, pb::single(2, 0.5f)) +
                                            pb::attribute("axis", 2, pb::number(3, -1)) +
                                            pb::attribute("mode", 3, pb::bytes(4, "same")) +
                                            pb::attribute("pads", 7, pb::number(8, 1) + pb::number(8, -2)) +
                                            pb::attribute("scales", 6, pb::single(7, 1.5f) + pb::single(7, 2)),
                                        "first"),
                               pb::node("Relu", {"h"}, {"y"})},
                              {pb::tensor("w", pb::kFloat, {2, 1}, pb::floats(2))}})) +
      pb::opset("", 17) + pb::opset("my.domain", 3) + pb::bytes(14, pb::entry("key", "value"));
  return kFile;
}

TEST(OnnxReader, ReadsTheModelAndItsGraph) {
  const OnnxModel model = pb::load(small_model());
  EXPECT_EQ(model.ir_version, 8);
  EXPECT_EQ(model.producer_name, "maker");
  EXPECT_EQ(model.producer_version, "2.1");
  EXPECT_EQ(opset_version(model.opset_imports, "ai.onnx"), 17);
  EXPECT_EQ(opset_version(model.opset_imports, "my.domain"), 3);
  EXPECT_FALSE(opset_version(model.opset_imports, "other"));
  ASSERT_EQ(model.metadata_props.size(), 1u);
  EXPECT_EQ(model.metadata_props[0].value, "value");
  EXPECT_EQ(model.graph.name, "g");
  ASSERT_EQ(model.graph.nodes.size(), 2u);
  EXPECT_EQ(model.graph.nodes[0].inputs, (std::vector<std::string>{"x", "w", ""}));
  EXPECT_EQ(describe(model.graph.nodes[0], 0), "node 'first' (Conv)");
  EXPECT_EQ(describe(model.graph.nodes[1], 1), "node 1 (Relu)");
  ASSERT_EQ(model.graph.initializers.size(), 1u);
  EXPECT_EQ(model.graph.initializers[0].dims, (Shape{2, 1}));
}

TEST(OnnxReader, ReadsShapesFixedNamedAndUnknown) {
  const std::string file =
      pb::model({{pb::node("Relu", {"x"}, {"y"})},
                 {},
                 {"x"},
                 {"y"},
                 pb::bytes(13, pb::value("a", pb::kFloat, pb::dim(3) + pb::dim(0))) +
                     pb::bytes(13, pb::value("b", pb::kFloat, pb::dim(-1) + pb::bytes(1, ""))) +
                     pb::bytes(13, pb::bytes(1, "c") + pb::bytes(2, pb::bytes(1, pb::number(1, 1))))});
  const OnnxModel model = pb::load(file);
  const OnnxType& input = model.graph.inputs[0].type;
  EXPECT_EQ(input.elem_type, OnnxDataType::kFloat);
  ASSERT_EQ(input.shape.size(), 2u);
  EXPECT_EQ(input.shape[0].param, "n");
  EXPECT_FALSE(input.shape[0].fixed());
  EXPECT_EQ(input.shape[1].value, 2);
  EXPECT_FALSE(input.fixed_shape());
  const auto& infos = model.graph.value_infos;
  EXPECT_EQ(infos[0].type.fixed_shape(), (Shape{3, 0}));
  EXPECT_FALSE(infos[1].type.shape[0].fixed());
  EXPECT_FALSE(infos[1].type.shape[1].fixed());
  EXPECT_FALSE(infos[2].type.has_shape);
}

TEST(OnnxReader, GivesAttributesByType) {
  const OnnxModel model = pb::load(small_model());
  const OnnxNode& node = model.graph.nodes[0];
  EXPECT_EQ(attribute_float(node, "alpha", 0, "m"), 0.5f);
  EXPECT_EQ(attribute_int(node, "axis", 0, "m"), -1);
  EXPECT_EQ(attribute_string(node, "mode", "", "m"), "same");
  EXPECT_EQ(attribute_ints(node, "pads", {}, "m"), (std::vector<int64_t>{1, -2}));
  EXPECT_EQ(attribute_floats(node, "scales", {}, "m"), (std::vector<float>{1.5f, 2}));
  EXPECT_EQ(attribute_int(node, "absent", 7, "m"), 7);
  EXPECT_EQ(find_attribute(node, "absent"), nullptr);
  ESP_EXPECT_USER_ERROR(attribute_int(node, "alpha", 0, "m"),
                        "m: node 'first' (Conv): attribute 'alpha': expected INT, found FLOAT");
}

TEST(OnnxReader, ReadsAttributesWithoutAType) {
  const std::string file =
      pb::model({{pb::node("Elu", {"x"}, {"y"}, pb::bytes(5, pb::bytes(1, "alpha") + pb::single(2, 2.0f)))}});
  EXPECT_EQ(attribute_float(pb::load(file).graph.nodes[0], "alpha", 0, "m"), 2.0f);
}

TEST(OnnxReader, ReadsListsInBothPackings) {
  const std::string file =
      pb::model({{pb::node("Op", {"x"}, {"y"},
                           pb::attribute("a", 7, pb::packed(8, {1, 300})) +
                               pb::attribute("b", 6, pb::bytes(7, std::string("\0\0\0\x40", 4))))}});
  const OnnxModel model = pb::load(file);
  EXPECT_EQ(attribute_ints(model.graph.nodes[0], "a", {}, "m"), (std::vector<int64_t>{1, 300}));
  EXPECT_EQ(attribute_floats(model.graph.nodes[0], "b", {}, "m"), (std::vector<float>{2}));
}

TEST(OnnxReader, LetsSubgraphsCaptureNames) {
  const std::string inner = pb::graph({{pb::node("Add", {"h", "w"}, {"t"})}, {}, {}, {"t"}}, "then");
  const std::string file =
      pb::model({{pb::node("Neg", {"x"}, {"h"}), pb::node("If", {"x"}, {"y"}, pb::subgraph("then_branch", inner))},
                 {pb::tensor("w", pb::kFloat, {2}, pb::floats(2))}});
  const OnnxModel model = pb::load(file);
  const auto reads = onnx_reads(model.graph.nodes[1]);
  EXPECT_EQ(reads, (std::vector<std::string_view>{"x", "h", "w"}));
}

TEST(OnnxReader, VisitsEveryTensor) {
  const std::string constant = pb::tensor("", pb::kFloat, {1}, pb::floats(1));
  const std::string inner = pb::graph(
      {{pb::node("Constant", {}, {"t"}, pb::attribute("value", 4, pb::bytes(5, constant)))}, {}, {}, {"t"}}, "then");
  const std::string file = pb::model({{pb::node("If", {"x"}, {"y"}, pb::subgraph("then_branch", inner))},
                                      {pb::tensor("w", pb::kFloat, {2}, pb::floats(2))}});
  std::vector<std::string> names;
  for_each_tensor(pb::load(file), [&](const OnnxTensor& tensor) { names.push_back(tensor.name); });
  EXPECT_EQ(names, (std::vector<std::string>{"w", ""}));
}

TEST(OnnxReader, KeepsOperatorsOfOtherDomains) {
  const std::string file = pb::model_of(pb::graph({{pb::node("Scaler", {"x"}, {"h"}, pb::bytes(7, "ai.onnx.ml")),
                                                    pb::node("Mine", {"h"}, {"y"}, pb::bytes(7, "my.own"))}}),
                                        pb::opset("ai.onnx.ml", 99) + pb::opset("my.own", 1));
  EXPECT_EQ(pb::load(file).graph.nodes[1].domain, "my.own");
}

TEST(OnnxReader, InitialiserMayBeTheDefaultOfAnInput) {
  const std::string file =
      pb::model({{pb::node("Add", {"x", "w"}, {"y"})}, {pb::tensor("w", pb::kFloat, {1}, pb::floats(1))}, {"x", "w"}});
  EXPECT_EQ(pb::load(file).graph.inputs.size(), 2u);
}

// The file's other bytes are a hole, which takes no space on the disk.
TEST(OnnxReader, ReadsAFileAbove2GB) {
  test::TempDir directory;
  const uint64_t weights = 3ull << 30;
  const std::string name = pb::number(1, static_cast<int64_t>(weights)) + pb::number(2, pb::kUint8) +
                           pb::bytes(8, "w") + pb::varint(9 << 3 | 2) + pb::varint(weights);
  const auto message = [&](uint64_t field, const std::string& head) {
    return pb::varint(field << 3 | 2) + pb::varint(head.size() + weights) + head;
  };
  const std::string node = pb::bytes(1, pb::node("Relu", {"x"}, {"y"}));
  const std::string tail = pb::opset("", 17);
  // The initialiser is the graph's last field, so the graph ends with the weights.
  const std::string inputs = pb::bytes(11, pb::value("x", pb::kFloat, pb::dim(1)));
  const std::string head = pb::number(1, 8) + message(7, node + inputs + message(5, name));
  const auto path = directory / "large.onnx";
  pb::put(path, head);
  std::filesystem::resize_file(path, head.size() + weights);
  std::ofstream(path, std::ios::binary | std::ios::app) << tail;
  const OnnxModel model = read_onnx(path);
  EXPECT_EQ(model.graph.initializers.at(0).data.view.size(), weights);
  EXPECT_EQ(opset_version(model.opset_imports, ""), 17);
}

TEST(OnnxReader, NamesTheFileThatItReads) {
  test::TempDir directory;
  pb::put(directory / "m.onnx", small_model());
  const OnnxModel model = read_onnx(directory / "m.onnx");
  EXPECT_EQ(model.path, directory / "m.onnx");
  ASSERT_EQ(model.files.size(), 1u);
  EXPECT_EQ(model.files[0]->path(), model.path);
}

}  // namespace
}  // namespace espalier
