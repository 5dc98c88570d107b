// Real files: imported, exported and imported again, they compute what they did, and so does a converted language model.
#include <gtest/gtest.h>

#include "espalier/families/family.h"
#include "espalier/families/onnx/export.h"
#include "espalier/families/onnx/import.h"
#include "espalier/io/onnx/reader.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::vector<at::Tensor> run(const Graph& graph, const at::Tensor& input) {
  Environment values{{graph.inputs.at(0), input}};
  Weights weights(graph);
  Interpreter(graph, weights).run(values, 0, static_cast<NodeId>(graph.nodes.size()));
  std::vector<at::Tensor> outputs;
  for (ValueId output : graph.outputs) outputs.push_back(values.at(output));
  return outputs;
}

void expect_same(const Graph& found, const Graph& expected, const at::Tensor& input) {
  const auto a = run(found, input), b = run(expected, input);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].sizes(), b[i].sizes());
    const at::Tensor error = (a[i] - b[i]).abs() / b[i].abs().clamp_min(1);
    EXPECT_LT(error.max().item<double>(), 1e-5) << "output " << i;
  }
}

void expect_file_roundtrip(const std::filesystem::path& path, double scale) {
  const test::TempDir dir;
  const OnnxImport first = import_onnx(path);
  EXPECT_TRUE(first.source->opaque.empty());
  write_onnx_model(first.graph, first.input_shapes, first.source.get(), dir / "again.onnx");
  const OnnxImport second = import_onnx(dir / "again.onnx");
  const Shape shape = first.input_shapes.at(0);
  expect_same(second.graph, first.graph,
              (at::sin(at::arange(element_count(shape), at::kFloat) * 0.37) * scale).view(shape));
  // Weights keep names and bytes; those that no constant took the place of are all there.
  const OnnxModel written = read_onnx(dir / "again.onnx");
  std::map<std::string, std::string_view> tensors;
  for (const OnnxTensor& tensor : written.graph.initializers) tensors[tensor.name] = tensor.data.view;
  for (const auto& parameter : first.graph.parameters()) {
    const Tensor value = parameter->load();
    EXPECT_EQ(tensors.at(parameter->name()),
              std::string_view(reinterpret_cast<const char*>(value.bytes()), value.byte_size()))
        << parameter->name();
  }
}

TEST(OnnxRoundtripReal, UltraFace) {
  ESP_NEED_SHARED(path, "data/ultraface-rfb320/version-RFB-320.onnx");
  expect_file_roundtrip(path, 1);
}

TEST(OnnxRoundtripReal, YoloX) {
  ESP_NEED_SHARED(path, "data/yolox-nano-coco/yolox_nano.onnx");
  expect_file_roundtrip(path, 100);
}

TEST(OnnxRoundtripReal, Stories260K) {
  ESP_NEED_SHARED(path, "data/llama2c-stories260K/hf");
  const Model model = load_model(path);
  const OnnxModel exported = export_onnx(model.graph, {{1, 8}}, nullptr);
  const at::Tensor ids = (at::arange(2 * 100, at::kLong) * 7 % model.vocab_size).view({2, 100});
  expect_same(import_onnx(exported, {.input_shapes = {{"input_ids", {2, 100}}}}).graph, model.graph, ids);
}

}  // namespace
}  // namespace espalier
