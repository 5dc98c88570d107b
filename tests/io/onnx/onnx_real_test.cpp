// Files that PyTorch exported.
#include <gtest/gtest.h>

#include "espalier/core/file.h"
#include "espalier/io/checkpoint.h"
#include "espalier/io/onnx/reader.h"
#include "espalier/io/onnx/tensor.h"
#include "espalier/io/onnx/writer.h"
#include "tests/support.h"

namespace espalier {
namespace {

void expect_rewritten_alike(const std::filesystem::path& path) {
  test::TempDir directory;
  const OnnxModel model = read_onnx(path);
  write_onnx(model, directory / "one.onnx");
  EXPECT_EQ(sha256_of_file(directory / "one.onnx"), sha256_of_file(path));
  write_onnx(model, directory / "two.onnx", {OnnxExternalData::kAlways});
  const OnnxModel two = read_onnx(directory / "two.onnx");
  EXPECT_LT(std::filesystem::file_size(directory / "two.onnx"), std::filesystem::file_size(path) / 4);
  ASSERT_EQ(two.graph.initializers.size(), model.graph.initializers.size());
  for (size_t i = 0; i < two.graph.initializers.size(); ++i)
    EXPECT_EQ(onnx_raw_bytes(two.graph.initializers[i], "two").view,
              onnx_raw_bytes(model.graph.initializers[i], "one").view);
  write_onnx(two, directory / "three.onnx", {OnnxExternalData::kNever});
  EXPECT_EQ(read_onnx(directory / "three.onnx").graph.nodes.size(), model.graph.nodes.size());
}

TEST(OnnxReal, FaceDetector) {
  ESP_NEED_SHARED(folder, "data/ultraface-rfb320");
  const auto path = folder / "version-RFB-320.onnx";
  expect_rewritten_alike(path);
  const OnnxModel model = read_onnx(path);
  EXPECT_EQ(model.producer_name, "pytorch");
  EXPECT_EQ(model.graph.nodes.size(), 242u);
  // The same weights stand in the checkpoint of which the file was exported.
  const auto checkpoint = Checkpoint::open(folder / "version-RFB-320.safetensors");
  size_t same = 0;
  for (const OnnxTensor& stored : model.graph.initializers) {
    if (!checkpoint->has(stored.name)) continue;
    EXPECT_EQ(to_tensor(stored, path.string()).to_floats(), checkpoint->tensor(stored.name).to_floats()) << stored.name;
    ++same;
  }
  EXPECT_GT(same, 50u);
}

TEST(OnnxReal, ObjectDetector) {
  ESP_NEED_SHARED(path, "data/yolox-nano-coco/yolox_nano.onnx");
  expect_rewritten_alike(path);
  const OnnxModel model = read_onnx(path);
  EXPECT_EQ(opset_version(model.opset_imports, ""), 11);
  EXPECT_EQ(model.graph.inputs.at(0).type.fixed_shape(), (Shape{1, 3, 416, 416}));
}

}  // namespace
}  // namespace espalier
