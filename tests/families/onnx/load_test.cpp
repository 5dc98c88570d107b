// What an ONNX file is, told from its inputs and outputs.
#include <gtest/gtest.h>

#include "espalier/core/file.h"
#include "espalier/families/family.h"
#include "espalier/io/onnx/writer.h"
#include "tests/families/onnx/onnx_model.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

Model loaded(const ModelBuilder& b) {
  const TempDir dir;
  write_onnx(b.model, dir / "m.onnx");
  return load_model(dir / "m.onnx");
}

ModelBuilder classifier(const std::string& planes) {
  ModelBuilder b;
  b.weight("w", {4, 3, 3, 3}).weight("fc", {4, 5}).node("Conv", {planes, "w"}, {"c"}).node("GlobalAveragePool", {"c"}, {"p"});
  return b.node("Flatten", {"p"}, {"f"}).node("MatMul", {"f", "fc"}, {"y"}).output("y");
}

TEST(OnnxLoad, PicturesWithChannelsFirst) {
  const Model model = loaded(classifier("x").input("x", {"n", 3, 8, 8}));
  EXPECT_EQ(model.task, Task::kImages);
  EXPECT_EQ(model.image.channels, 3);
  EXPECT_TRUE(model.notes.empty());
}

// Keras: [n, h, w, c], rescaled and turned.
TEST(OnnxLoad, PicturesWithChannelsLastAreSaidToBeThat) {
  ModelBuilder b = classifier("t");
  std::vector<OnnxNode> body;
  body.swap(b.model.graph.nodes);
  b.input("x", {"n", 8, 8, 3}).number("scale", 0.5f).node("Mul", {"x", "scale"}, {"s"}).node("Transpose", {"s"}, {"t"}, {onnx_ints("perm", {0, 3, 1, 2})});
  b.model.graph.nodes.insert(b.model.graph.nodes.end(), body.begin(), body.end());
  const Model model = loaded(b);
  EXPECT_EQ(model.task, Task::kOther);
  ASSERT_EQ(model.notes.size(), 1u);
  EXPECT_NE(model.notes[0].find("input 'x': pictures with their channels last"), std::string::npos);
}

// As a run leaves it that removed single weights.
TEST(OnnxLoad, AMaskBesideTheFileIsNoCheckpoint) {
  const TempDir dir;
  write_onnx(classifier("x").input("x", {"n", 3, 8, 8}).model, dir / "m.onnx");
  write_file_atomically(dir / "mask.safetensors", std::string_view("a mask"));
  EXPECT_TRUE(load_model(dir.path()).onnx);
}

}  // namespace
}  // namespace espalier::test
