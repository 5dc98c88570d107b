#include <gtest/gtest.h>

#include "espalier/core/file.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/serialise.h"
#include "espalier/io/onnx/tensor.h"
#include "espalier/io/onnx/writer.h"
#include "tests/io/onnx/onnx_bytes.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace pb = test::pb;
namespace fs = std::filesystem;

std::string rewritten(const std::string& file) { return to_string(serialise_onnx(pb::load(file))); }

std::string content(const fs::path& path) { return read_file(path, 1u << 24); }

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(OnnxWriter, KeepsEveryByteOfACanonicalFile) {
  const std::string attributes = pb::attribute("f", 1, pb::single(2, 0)) + pb::attribute("i", 2, pb::number(3, -1)) +
                                 pb::attribute("s", 3, pb::bytes(4, "")) +
                                 pb::attribute("is", 7, pb::number(8, 0) + pb::number(8, -3)) +
                                 pb::attribute("fs", 6, pb::single(7, 0) + pb::single(7, 2)) +
                                 pb::attribute("ss", 8, pb::bytes(9, "") + pb::bytes(9, "b"));
  const std::string node =
      pb::node("Op", {"x", ""}, {"y"},
               attributes + pb::bytes(6, "doc") + pb::bytes(7, "") + pb::bytes(9, pb::entry("k", "")), "n");
  const std::string file =
      pb::number(1, 8) + pb::bytes(2, "maker") + pb::bytes(4, "") + pb::number(5, 0) + pb::bytes(6, "text") +
      pb::bytes(7,
                pb::graph({{node},
                           {pb::tensor("w", pb::kFloat, {2}, pb::floats(2) + pb::bytes(12, "doc") + pb::number(14, 0))},
                           {"x"},
                           {"y"},
                           pb::bytes(13, pb::value("v", pb::kFloat,
                                                   pb::dim(0) + pb::bytes(1, "") +
                                                       pb::bytes(1, pb::bytes(2, "") + pb::bytes(3, "DATA"))))})) +
      pb::opset("", 17) + pb::bytes(14, pb::entry("", "value"));
  EXPECT_EQ(rewritten(file), file);
}

TEST(OnnxWriter, KeepsUnknownFieldsOfEveryMessage) {
  const std::string odd =
      pb::varint(90 << 3 | 1) + "12345678" + pb::bytes(91, "unknown") + pb::single(92, 3) + pb::number(93, 300);
  const std::string tensor = pb::tensor("w", pb::kFloat, {1}, pb::floats(1) + odd);
  const std::string dim = pb::bytes(1, pb::number(1, 2) + odd);
  const std::string info =
      pb::bytes(1, "v") + pb::bytes(2, pb::bytes(1, pb::number(1, 1) + pb::bytes(2, dim + odd) + odd) + odd) + odd;
  const std::string attribute = pb::bytes(5, pb::bytes(1, "a") + pb::bytes(5, tensor) + pb::number(20, 4) + odd);
  const std::string node = pb::node("Op", {"x"}, {"y"}, attribute + pb::bytes(9, pb::entry("k", "v") + odd) + odd);
  const std::string graph =
      pb::graph({{node}, {tensor}, {"x"}, {"y"}, pb::bytes(13, info) + pb::bytes(14, "annotation") + odd});
  const std::string file =
      pb::model_of(graph, pb::bytes(8, pb::bytes(1, "") + pb::number(2, 17) + odd) + pb::bytes(20, "training") + odd);
  EXPECT_EQ(rewritten(file), file);
}

TEST(OnnxWriter, KeepsTypesThatAreNoTensors) {
  for (uint64_t kind : {4, 5, 7, 8, 9}) {
    const std::string info = pb::bytes(1, "v") + pb::bytes(2, pb::bytes(kind, pb::bytes(1, "inner")));
    const std::string file = pb::model({{pb::node("Op", {"x"}, {"y"})}, {}, {"x"}, {"y"}, pb::bytes(13, info)});
    EXPECT_EQ(rewritten(file), file) << kind;
  }
}

TEST(OnnxWriter, KeepsBothPackings) {
  const std::string unpacked =
      pb::tensor("a", pb::kInt64, {3}, "", pb::number(7, 0) + pb::number(7, -3) + pb::number(7, 300));
  const std::string packed = pb::tensor("b", pb::kInt64, {2}, "", pb::packed(7, {1, 300}));
  const std::string floats = pb::tensor("c", pb::kFloat, {2}, "", pb::single(4, 1) + pb::single(4, 2));
  const std::string dims = pb::packed(1, {2, 1}) + pb::number(2, pb::kFloat) + pb::bytes(8, "d") + pb::floats(2);
  const std::string doubles = pb::tensor("e", 11, {1}, "") + pb::varint(10 << 3 | 1) + "12345678";
  const std::string strings = pb::tensor("f", pb::kString, {2}, "", pb::bytes(6, "") + pb::bytes(6, "text"));
  const std::string attribute =
      pb::attribute("is", 7, pb::packed(8, {1, 2})) + pb::attribute("fs", 6, pb::bytes(7, "12345678"));
  const std::string file =
      pb::model({{pb::node("Op", {"x"}, {"y"}, attribute)}, {unpacked, packed, floats, dims, doubles, strings}});
  EXPECT_EQ(rewritten(file), file);
}

TEST(OnnxWriter, KeepsSubgraphsSparseTensorsAndFunctions) {
  const std::string inner = pb::graph({{pb::node("Neg", {"x"}, {"t"})}, {}, {}, {"t"}}, "inner");
  const std::string sparse = pb::bytes(1, pb::tensor("s", pb::kFloat, {1}, pb::floats(1))) +
                             pb::bytes(2, pb::tensor("", pb::kInt64, {1}, "", pb::packed(7, {1}))) + pb::number(3, 4);
  const std::string function = pb::bytes(
      25, pb::bytes(1, "F") + pb::bytes(4, "a") + pb::bytes(5, "b") + pb::bytes(6, "k") +
              pb::bytes(7, pb::node("Op", {"a"}, {"b"},
                                    pb::bytes(5, pb::bytes(1, "k") + pb::number(20, 2) + pb::bytes(21, "k")))) +
              pb::bytes(9, pb::bytes(1, "") + pb::number(2, 17)) + pb::bytes(10, "f") +
              pb::bytes(11, pb::bytes(1, "d") + pb::number(3, 0) + pb::number(20, 2)));
  const std::string file =
      pb::model_of(pb::graph({{pb::node("If", {"x"}, {"h"}, pb::subgraph("then_branch", inner)),
                               pb::node("Const", {}, {"c"}, pb::attribute("sparse_value", 11, pb::bytes(22, sparse))),
                               pb::node("Relu", {"h"}, {"y"})},
                              {},
                              {"x"},
                              {"y"},
                              pb::bytes(15, sparse)}),
                   pb::opset("", 17) + pb::opset("f", 1) + function);
  // Attribute 22 stands behind 20 in canonical order; the builder writes `type` last.
  const std::string again = rewritten(file);
  EXPECT_EQ(again.size(), file.size());
  EXPECT_EQ(rewritten(again), again);
}

TEST(OnnxWriter, ModelMadeByTheProgram) {
  OnnxModel model;
  model.ir_version = 8;
  model.opset_imports = {{"", 17, {}}};
  model.graph.name = "made";
  OnnxValueInfo x{"x", {}, "", {}, {}};
  x.type.kind = OnnxType::Kind::kTensor;
  x.type.elem_type = OnnxDataType::kFloat;
  x.type.has_shape = true;
  x.type.shape.resize(2);
  x.type.shape[0].param = "n";
  x.type.shape[1].value = 0;
  OnnxValueInfo y = x;
  y.name = "y";
  model.graph.inputs = {x};
  model.graph.outputs = {y};
  model.graph.initializers = {onnx_tensor("w", Tensor::from_floats({2}, std::vector<float>{1, 2}))};
  OnnxNode node;
  node.op_type = "Gemm";
  node.inputs = {"x", "w"};
  node.outputs = {"y"};
  node.attributes = {onnx_int("transB", 0), onnx_float("alpha", 0), onnx_string("s", ""), onnx_ints("is", {0, 1})};
  model.graph.nodes = {node};
  const std::string file = to_string(serialise_onnx(model));
  const OnnxModel read = pb::load(file);
  const auto& attributes = read.graph.nodes.at(0).attributes;
  EXPECT_EQ(attribute_ints(read.graph.nodes[0], "is", {}, "m"), (std::vector<int64_t>{0, 1}));
  for (size_t i = 0; i < 3; ++i)
    EXPECT_TRUE(attributes[i].extras.has(static_cast<uint32_t>(i == 0 ? 3 : i == 1 ? 2 : 4))) << i;
  EXPECT_EQ(read.graph.inputs[0].type.shape[1].value, 0);
  EXPECT_EQ(to_tensor(read.graph.initializers[0], "m").to_floats(), (std::vector<float>{1, 2}));
}

class OnnxWriterFiles : public testing::Test {
 protected:
  // Three initialisers: 40 bytes, 2000 bytes raw, 300 int64 in a typed list.
  OnnxWriterFiles() {
    std::string bytes(2000, '\0'), list;
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7);
    for (uint64_t i = 0; i < 300; ++i) list += pb::varint(i * 1000);
    pb::put(source(), pb::model({{pb::node("Op", {"x"}, {"y"})},
                                 {pb::tensor("small", pb::kFloat, {10}, pb::floats(10)),
                                  pb::tensor("large", pb::kUint8, {2000}, pb::raw(bytes)),
                                  pb::tensor("typed", pb::kInt64, {300}, "", pb::bytes(7, list))}}));
  }
  fs::path source() const { return directory_ / "source.onnx"; }
  fs::path target() const { return directory_ / "target.onnx"; }

  static void expect_same_tensors(const OnnxModel& a, const OnnxModel& b) {
    ASSERT_EQ(a.graph.initializers.size(), b.graph.initializers.size());
    for (size_t i = 0; i < a.graph.initializers.size(); ++i) {
      const Tensor left = to_tensor(a.graph.initializers[i], "a"), right = to_tensor(b.graph.initializers[i], "b");
      ASSERT_EQ(left.shape(), right.shape());
      EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(left.bytes()), left.byte_size()),
                std::string_view(reinterpret_cast<const char*>(right.bytes()), right.byte_size()));
    }
  }

  test::TempDir directory_;
};

TEST_F(OnnxWriterFiles, OneFile) {
  write_onnx(read_onnx(source()), target());
  EXPECT_EQ(content(target()), content(source()));
  EXPECT_EQ(names_in(directory_.path()), (std::vector<std::string>{"source.onnx", "target.onnx"}));
}

TEST_F(OnnxWriterFiles, OverItsOwnSource) {
  const std::string before = content(source());
  write_onnx(read_onnx(source()), source());
  EXPECT_EQ(content(source()), before);
}

TEST_F(OnnxWriterFiles, ExternalDataIsAligned) {
  for (uint64_t alignment : {64, 4096}) {
    OnnxWriteOptions options{OnnxExternalData::kAlways};
    options.alignment = alignment;
    write_onnx(read_onnx(source()), target(), options);
    const OnnxModel model = read_onnx(target());
    expect_same_tensors(read_onnx(source()), model);
    const auto& tensors = model.graph.initializers;
    EXPECT_EQ(tensors[0].storage, OnnxStorage::kRaw);
    EXPECT_EQ(tensors[1].storage, OnnxStorage::kExternal);
    ASSERT_EQ(tensors[2].external_data.size(), 3u);
    EXPECT_EQ(tensors[2].external_data[1].value, std::to_string(alignment == 64 ? 2048 : 4096));
    EXPECT_EQ(tensors[2].external_data[2].value, "2400");
  }
}

TEST_F(OnnxWriterFiles, AutomaticAboveTheLimit) {
  OnnxWriteOptions options;
  options.max_model_bytes = 1000;
  write_onnx(read_onnx(source()), target(), options);
  EXPECT_LT(fs::file_size(target()), 1000u);
  expect_same_tensors(read_onnx(source()), read_onnx(target()));
  options.external_data = OnnxExternalData::kNever;
  ESP_EXPECT_USER_ERROR(write_onnx(read_onnx(source()), target(), options), "expected at most 1000 bytes, found");
  options.external_data = OnnxExternalData::kAuto;
  options.max_model_bytes = 100;
  ESP_EXPECT_USER_ERROR(write_onnx(read_onnx(source()), target(), options), "expected at most 100 bytes, found");
}

TEST_F(OnnxWriterFiles, ExternalStaysExternalAndComesBack) {
  const auto second = directory_ / "second.onnx", third = directory_ / "third.onnx";
  write_onnx(read_onnx(source()), target(), {OnnxExternalData::kAlways});
  write_onnx(read_onnx(target()), second);
  EXPECT_TRUE(fs::exists(directory_ / "second.onnx.data"));
  expect_same_tensors(read_onnx(source()), read_onnx(second));
  write_onnx(read_onnx(second), third, {OnnxExternalData::kNever});
  EXPECT_FALSE(fs::exists(directory_ / "third.onnx.data"));
  expect_same_tensors(read_onnx(source()), read_onnx(third));
}

TEST_F(OnnxWriterFiles, ReplacesAModelWithItsData) {
  write_onnx(read_onnx(source()), target(), {OnnxExternalData::kAlways});
  write_onnx(read_onnx(target()), target(), {OnnxExternalData::kAlways});
  EXPECT_EQ(names_in(directory_.path()),
            (std::vector<std::string>{"source.onnx", "target.onnx", "target.onnx.1.data"}));
  expect_same_tensors(read_onnx(source()), read_onnx(target()));
  write_onnx(read_onnx(target()), target(), {OnnxExternalData::kNever});
  EXPECT_EQ(names_in(directory_.path()), (std::vector<std::string>{"source.onnx", "target.onnx"}));
}

TEST_F(OnnxWriterFiles, LeavesAForeignDataFileAlone) {
  pb::put(directory_ / "target.onnx.data", "mine");
  write_onnx(read_onnx(source()), target(), {OnnxExternalData::kAlways});
  EXPECT_EQ(content(directory_ / "target.onnx.data"), "mine");
  EXPECT_TRUE(fs::exists(directory_ / "target.onnx.1.data"));
}

TEST_F(OnnxWriterFiles, SourceChangedWhileMapped) {
  write_onnx(read_onnx(source()), target());
  const std::string before = content(target());
  const OnnxModel model = read_onnx(source());
  fs::last_write_time(source(), fs::file_time_type::clock::now() + std::chrono::hours(1));
  ESP_EXPECT_USER_ERROR(write_onnx(model, target(), {OnnxExternalData::kAlways}),
                        "the file was changed while espalier was reading it");
  EXPECT_EQ(content(target()), before);
  EXPECT_EQ(names_in(directory_.path()), (std::vector<std::string>{"source.onnx", "target.onnx"}));
}

TEST_F(OnnxWriterFiles, DirectoryThatDoesNotExist) {
  ESP_EXPECT_USER_ERROR(write_onnx(read_onnx(source()), directory_ / "absent" / "m.onnx"), "cannot create");
}

TEST(OnnxWriter, ExternalDataThatIsNotOpened) {
  const std::string file = pb::with_tensor(pb::tensor("w", pb::kUint8, {4}, pb::external({{"location", "w.bin"}})));
  ESP_EXPECT_USER_ERROR(rewritten(file), "tensor 'w': its external data is not opened");
}

}  // namespace
}  // namespace espalier
