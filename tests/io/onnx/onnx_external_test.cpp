// Tensors in files beside the model, and the ways in which such a file may not be named.
#include <gtest/gtest.h>

#include "espalier/core/file.h"
#include "espalier/io/onnx/tensor.h"
#include "tests/io/onnx/onnx_bytes.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace pb = test::pb;
namespace fs = std::filesystem;

using Entries = std::initializer_list<std::pair<std::string, std::string>>;

class OnnxExternal : public testing::Test {
 protected:
  OnnxExternal() {
    fs::create_directory(root_ / "model");
    fs::create_directory(root_ / "model" / "sub");
    pb::put(root_ / "outside.bin", "12345678");
    pb::put(root_ / "model" / "w.bin", "01234567abcdefgh");
    pb::put(root_ / "model" / "sub" / "w.bin", "ABCDEFGH");
  }

  fs::path path(const std::string& name) const { return root_ / "model" / name; }

  // A model with tensors of four bytes, one for each list of entries.
  OnnxModel open(std::initializer_list<Entries> tensors) const {
    std::vector<std::string> messages;
    for (const Entries& entries : tensors)
      messages.push_back(pb::tensor("w" + std::to_string(messages.size()), pb::kUint8, {4}, pb::external(entries)));
    pb::put(path("m.onnx"), pb::model({{pb::node("Relu", {"x"}, {"y"})}, messages}));
    return read_onnx(path("m.onnx"));
  }
  std::string text(const OnnxModel& model, size_t tensor = 0) const {
    const Tensor view = to_tensor(model.graph.initializers.at(tensor), "m");
    return {reinterpret_cast<const char*>(view.bytes()), view.byte_size()};
  }

  test::TempDir root_;
};

TEST_F(OnnxExternal, ReadsBytesInPlace) {
  const OnnxModel model = open({{{"location", "w.bin"}, {"offset", "8"}, {"length", "4"}},
                                {{"location", "w.bin"}},
                                {{"location", "./sub/w.bin"}, {"offset", "1"}}});
  EXPECT_EQ(text(model, 0), "abcd");
  EXPECT_EQ(text(model, 1), "0123");
  EXPECT_EQ(text(model, 2), "BCDE");
  EXPECT_EQ(model.files.size(), 3u);
}

TEST_F(OnnxExternal, ChecksTheSha1) {
  EXPECT_NO_THROW(open({{{"location", "sub/w.bin"}, {"checksum", "C15EB4B55BD000F4A876C1D715BEE42E62B3E576"}}}));
  ESP_EXPECT_USER_ERROR(open({{{"location", "w.bin"}, {"checksum", "0000000000000000000000000000000000000000"}}}),
                        "external_data checksum");
}

TEST_F(OnnxExternal, LocationWithDotDot) {
  ESP_EXPECT_USER_ERROR(open({{{"location", "../outside.bin"}}}),
                        "tensor 'w0': external_data location: expected a regular file at or below the model's "
                        "directory, found '../outside.bin'");
  ESP_EXPECT_USER_ERROR(open({{{"location", "sub/../../outside.bin"}}}), "found 'sub/../../outside.bin'");
  ESP_EXPECT_USER_ERROR(open({{{"location", "sub/../w.bin"}}}), "found 'sub/../w.bin'");
}

TEST_F(OnnxExternal, LocationAbsolute) {
  ESP_EXPECT_USER_ERROR(open({{{"location", (root_ / "outside.bin").string()}}}), "at or below the model's directory");
  ESP_EXPECT_USER_ERROR(open({{{"location", path("w.bin").string()}}}), "at or below the model's directory");
  ESP_EXPECT_USER_ERROR(open({{{"location", "..\\outside.bin"}}}), "at or below the model's directory");
  ESP_EXPECT_USER_ERROR(open({{{"location", std::string("w.bin\0x", 7)}}}), "at or below the model's directory");
}

TEST_F(OnnxExternal, LocationEmptyOrMissing) {
  ESP_EXPECT_USER_ERROR(open({{{"location", ""}}}), "external_data location");
  ESP_EXPECT_USER_ERROR(open({{{"offset", "0"}}}), "external_data location: expected a path, found none");
  ESP_EXPECT_USER_ERROR(open({{{"location", "absent.bin"}}}), "expected a file beside the model");
}

TEST_F(OnnxExternal, SymbolicLink) {
  fs::create_symlink(root_ / "outside.bin", path("link.bin"));
  fs::create_symlink("w.bin", path("inner.bin"));
  ESP_EXPECT_USER_ERROR(open({{{"location", "link.bin"}}}), "found the symbolic link");
  ESP_EXPECT_USER_ERROR(open({{{"location", "inner.bin"}}}), "found the symbolic link");
}

TEST_F(OnnxExternal, SymbolicLinkOfAParent) {
  fs::create_directory_symlink(root_.path(), path("up"));
  ESP_EXPECT_USER_ERROR(open({{{"location", "up/outside.bin"}}}), "found the symbolic link");
}

TEST_F(OnnxExternal, HardLink) {
  fs::create_hard_link(root_ / "outside.bin", path("hard.bin"));
  ESP_EXPECT_USER_ERROR(open({{{"location", "hard.bin"}}}), "with 2 hard links");
}

TEST_F(OnnxExternal, DirectoryAndTheModelItself) {
  ESP_EXPECT_USER_ERROR(open({{{"location", "sub"}}}), "no regular file");
  ESP_EXPECT_USER_ERROR(open({{{"location", "m.onnx"}}}), "expected a file other than the model");
}

TEST_F(OnnxExternal, NegativeOffset) {
  ESP_EXPECT_USER_ERROR(open({{{"location", "w.bin"}, {"offset", "-4"}}}),
                        "external_data offset: expected a number of bytes, found '-4'");
  ESP_EXPECT_USER_ERROR(open({{{"location", "w.bin"}, {"offset", "4x"}}}), "found '4x'");
  ESP_EXPECT_USER_ERROR(open({{{"location", "w.bin"}, {"offset", "99999999999999999999999"}}}), "external_data offset");
}

TEST_F(OnnxExternal, PastTheEnd) {
  ESP_EXPECT_USER_ERROR(open({{{"location", "w.bin"}, {"offset", "13"}}}),
                        "expected 4 bytes from 13 on, found the end of w.bin at 16");
  ESP_EXPECT_USER_ERROR(open({{{"location", "w.bin"}, {"offset", "18446744073709551615"}}}),
                        "found the end of w.bin at 16");
}

TEST_F(OnnxExternal, LengthThatIsNotTheTensors) {
  ESP_EXPECT_USER_ERROR(open({{{"location", "w.bin"}, {"length", "5"}}}),
                        "external_data length: expected 4, the size of the tensor, found 5");
}

TEST_F(OnnxExternal, OverlappingRanges) {
  ESP_EXPECT_USER_ERROR(open({{{"location", "w.bin"}, {"offset", "4"}}, {{"location", "./w.bin"}, {"offset", "2"}}}),
                        "tensor 'w0': external_data offset: expected 6 or more, the end of 'w1', found 4");
}

TEST_F(OnnxExternal, ElementsBesideExternalData) {
  const std::string both = pb::tensor("w", pb::kUint8, {4}, pb::raw("abcd") + pb::external({{"location", "w.bin"}}));
  pb::put(path("m.onnx"), pb::with_tensor(both));
  ESP_EXPECT_USER_ERROR(read_onnx(path("m.onnx")), "expected no elements beside external data, found raw_data");
}

TEST_F(OnnxExternal, UnknownPlace) {
  pb::put(path("m.onnx"), pb::with_tensor(pb::tensor("w", pb::kUint8, {4}, pb::number(14, 2))));
  ESP_EXPECT_USER_ERROR(read_onnx(path("m.onnx")), "data_location: expected 0 (default) or 1 (external), found 2");
}

TEST_F(OnnxExternal, OverflowingDims) {
  pb::put(path("m.onnx"),
          pb::with_tensor(pb::tensor("w", pb::kFloat, {int64_t{1} << 61, 4}, pb::external({{"location", "w.bin"}}))));
  ESP_EXPECT_USER_ERROR(read_onnx(path("m.onnx")), "tensor 'w': dims");
}

TEST_F(OnnxExternal, ConstantsInNodesAndSubgraphs) {
  const std::string constant = pb::tensor("c", pb::kUint8, {4}, pb::external({{"location", "../outside.bin"}}));
  const std::string inner = pb::graph(
      {{pb::node("Constant", {}, {"t"}, pb::attribute("value", 4, pb::bytes(5, constant)))}, {}, {}, {"t"}}, "inner");
  pb::put(path("m.onnx"), pb::model({{pb::node("If", {"x"}, {"y"}, pb::subgraph("then_branch", inner))}}));
  ESP_EXPECT_USER_ERROR(read_onnx(path("m.onnx")), "tensor 'c': external_data location");
}

}  // namespace
}  // namespace espalier
