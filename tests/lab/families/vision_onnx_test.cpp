// Vision families and BERT as ONNX files: what is exported and read again computes the same, dense and cut, for any
// batch.
#include <gtest/gtest.h>

#include "espalier/families/onnx/export.h"
#include "espalier/families/onnx/import.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "tests/families/vision_models.h"
#include "tests/structure/random_cuts.h"
#include "tests/support.h"

namespace espalier::vision_onnx_test {
namespace {

at::Tensor run(const Graph& graph, const Shape& shape) {
  Weights weights(graph);
  const int64_t count = element_count(shape);
  if (shape.size() == 2)
    return Interpreter(graph, weights).forward((at::arange(count) * 7 + 3).remainder(31).view(shape));
  return Interpreter(graph, weights).forward(at::sin(at::arange(count, at::kFloat) * 0.37).view(shape));
}

void expect_same(const Graph& graph) {
  Shape shape = input_shapes(graph)[0];
  OnnxImportOptions options;
  if (shape.size() == 2) options.input_shapes["input_ids"] = shape;  // the file leaves their number open
  const OnnxImport again = import_onnx(export_onnx(graph, {shape}, nullptr), options);
  EXPECT_EQ(again.notes.size(), options.input_shapes.size());  // that tokens are counted from now on
  for (int64_t batch : {1, 2}) {
    shape[0] = batch;
    const at::Tensor expected = run(graph, shape), found = run(again.graph, shape);
    const double scale = std::max(1.0, expected.abs().max().item<double>());
    EXPECT_LT((found - expected).abs().max().item<double>() / scale, 1e-5) << "batch " << batch;
  }
}

class VisionOnnx : public ::testing::TestWithParam<std::string> {};

TEST_P(VisionOnnx, ComputesTheSame) {
  const test::TempDir dir;
  Model model = test::load_tiny_vision(dir / "m", test::tiny_vision_configs().at(GetParam()));
  expect_same(model.graph);
  const Coupling coupling = find_coupling(model.graph);
  std::vector<GroupCut> cuts;
  for (const auto& group : coupling.groups) {
    Rng rng(4, group.label);
    const auto keep = test::random_keep(group.set_count, 0.3, rng);
    if (group.set_count > 1 && test::leaves_every_dim(group, keep)) cuts.push_back(test::cut_of(group, keep));
  }
  cut(model.graph, coupling, cuts);
  expect_same(model.graph);
}

std::vector<std::string> names() {
  std::vector<std::string> list;
  for (const auto& [name, config] : test::tiny_vision_configs()) list.push_back(name);
  return list;
}

INSTANTIATE_TEST_SUITE_P(Models, VisionOnnx, ::testing::ValuesIn(names()),
                         [](const auto& model) { return model.param; });

}  // namespace
}  // namespace espalier::vision_onnx_test
