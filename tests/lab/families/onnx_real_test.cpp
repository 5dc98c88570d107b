// Real detectors: UltraFace (opset 9, exported by PyTorch 1.2) and YOLOX-nano (opset 11). The expected numbers are
// onnxruntime 1.32's, without graph optimisations, for the same input.
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/families/onnx/import.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/coupling.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::vector<at::Tensor> run(const Graph& graph, const at::Tensor& x) {
  c10::InferenceMode no_gradients;
  Environment values{{graph.inputs.at(0), x}};
  Weights weights(graph);
  Interpreter(graph, weights).run(values, 0, static_cast<NodeId>(graph.nodes.size()));
  std::vector<at::Tensor> outputs;
  for (ValueId output : graph.outputs) outputs.push_back(values.at(output));
  return outputs;
}

at::Tensor waves(const Shape& shape, double offset, double scale, double step) {
  at::Tensor x = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < x.numel(); ++i)
    x.data_ptr<float>()[i] = static_cast<float>(offset + scale * std::sin(static_cast<double>(i) * step));
  return x;
}

// Seven numbers spread over the output, and the sum of all.
void expect_output(const at::Tensor& y, const Shape& shape, const std::vector<double>& samples, double sum) {
  ASSERT_EQ(y.sizes(), at::IntArrayRef(shape));
  const at::Tensor flat = y.contiguous().flatten();
  const int64_t stride = flat.numel() / 7;
  for (size_t i = 0; i < samples.size(); ++i)
    EXPECT_NEAR(flat[static_cast<int64_t>(i) * stride].item<double>(), samples[i], 1e-4) << i;
  EXPECT_NEAR(flat.to(at::kDouble).sum().item<double>(), sum, 1e-5 * static_cast<double>(flat.numel()));
}

void expect_rows_alone(const Graph& graph, const at::Tensor& x) {
  const at::Tensor other = at::flip(x, {3});
  const auto alone = run(graph, other), together = run(graph, at::cat({x, other}));
  for (size_t i = 0; i < alone.size(); ++i) {
    ASSERT_EQ(together[i].size(0), 2);
    EXPECT_LT((together[i].narrow(0, 1, 1) - alone[i]).abs().max().item<double>(), 1e-4);
  }
}

TEST(OnnxReal, UltraFace) {
  ESP_NEED_SHARED(path, "data/ultraface-rfb320/version-RFB-320.onnx");
  const OnnxImport found = import_onnx(path);
  EXPECT_TRUE(found.source->opaque.empty());
  EXPECT_EQ(found.input_shapes, (std::vector<Shape>{{1, 3, 240, 320}}));
  const Coupling coupling = find_coupling(found.graph);
  EXPECT_TRUE(coupling.unknown_operators.empty());
  EXPECT_EQ(coupling.groups.size(), 23u);
  const at::Tensor x = waves({1, 3, 240, 320}, 0, 1, 0.01);
  const auto outputs = run(found.graph, x);
  ASSERT_EQ(outputs.size(), 2u);
  expect_output(outputs[0], {1, 4420, 2},
                {0.9319615364, 0.9481425881, 0.9592899681, 0.9477797151, 0.9493345022, 0.9543623924, 0.9639626145},
                4419.9999988);
  expect_output(outputs[1], {1, 4420, 4},
                {0.0015022368, 0.1591278911, 0.5482096672, 0.5242489576, -0.0049618184, 0.8782796264, 0.7282925248},
                8837.0425994);
  expect_rows_alone(found.graph, x);
}

TEST(OnnxReal, YoloxNano) {
  ESP_NEED_SHARED(path, "data/yolox-nano-coco/yolox_nano.onnx");
  const OnnxImport found = import_onnx(path);
  EXPECT_TRUE(found.source->opaque.empty());
  EXPECT_EQ(found.input_shapes, (std::vector<Shape>{{1, 3, 416, 416}}));
  const Coupling coupling = find_coupling(found.graph);
  EXPECT_TRUE(coupling.unknown_operators.empty());
  EXPECT_EQ(coupling.groups.size(), 55u);
  const at::Tensor x = waves({1, 3, 416, 416}, 114, 100, 0.01);
  const auto outputs = run(found.graph, x);
  ASSERT_EQ(outputs.size(), 1u);
  expect_output(outputs[0], {1, 3549, 85},
                {0.9290193914, 0.6966719627, 0.3487246335, 0.5063117743, 1.1852900981, 0.9122924209, 1.3289047480},
                17129.1734182);
  expect_rows_alone(found.graph, x);
}

}  // namespace
}  // namespace espalier
