// Exported and imported again, a graph computes what it did.
#include <gtest/gtest.h>

#include "espalier/core/assets.h"
#include "espalier/families/onnx/export.h"
#include "espalier/families/onnx/import.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/mask.h"
#include "tests/families/onnx/export_cases.h"
#include "tests/families/vision_models.h"
#include "tests/structure/random_cuts.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::ExportCase;

at::Tensor input_values(const ExportCase& item, const Shape& shape, size_t number) {
  if (item.vocab > 0) return (at::arange(element_count(shape), at::kLong) * 5 % item.vocab).view(shape);
  const at::Tensor x = at::sin(at::arange(element_count(shape), at::kFloat) * 0.7 + static_cast<double>(number)).view(shape);
  return item.positive ? x * 0.45 + 0.5 : x;
}

std::vector<at::Tensor> run(const Graph& graph, const ExportCase& item, const std::vector<Shape>& shapes) {
  Environment values;
  for (size_t i = 0; i < shapes.size(); ++i) values[graph.inputs[i]] = input_values(item, shapes[i], i);
  Weights weights(graph);
  Interpreter(graph, weights).run(values, 0, static_cast<NodeId>(graph.nodes.size()));
  std::vector<at::Tensor> outputs;
  for (ValueId output : graph.outputs) outputs.push_back(values.at(output).to(at::kFloat));
  return outputs;
}

OnnxImport import_at(OnnxModel model, const Graph& graph, const std::vector<Shape>& shapes) {
  OnnxImportOptions options;
  for (size_t i = 0; i < shapes.size(); ++i)
    options.input_shapes[graph.values[static_cast<size_t>(graph.inputs[i])].name] = shapes[i];
  return import_onnx(std::move(model), options);
}

void expect_same(const Graph& again, const ExportCase& item, const std::vector<Shape>& shapes) {
  const auto expected = run(item.graph, item, shapes), found = run(again, item, shapes);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].sizes(), expected[i].sizes());
    const at::Tensor error = (found[i] - expected[i]).abs() / expected[i].abs().clamp_min(1);
    EXPECT_LT(error.max().item<double>(), 1e-5) << "output " << i;
  }
}

void expect_roundtrip(const ExportCase& item) {
  for (int64_t opset : {11, 13, 17, 18, 21}) {
    if (opset < item.min_opset) continue;
    SCOPED_TRACE(fmt::format("{} at {}", item.name, opset));
    const OnnxImport again =
        import_at(export_onnx(item.graph, item.shapes, nullptr, {.opset = opset}), item.graph, item.shapes);
    EXPECT_TRUE(again.source->opaque.empty());
    expect_same(again.graph, item, item.shapes);
  }
}

TEST(OnnxRoundtrip, EveryOperator) {
  for (const ExportCase& item : test::export_cases()) expect_roundtrip(item);
}

TEST(OnnxRoundtrip, TinyModelsOfEveryTextFamily) {
  for (const std::string type : {"llama", "mistral", "qwen2", "qwen3", "gpt2", "opt", "phi"})
    for (DType dtype : {DType::kF32, DType::kBF16}) {
      const test::TempDir dir;
      test::TinyOptions options;
      options.dtype = dtype;
      options.qk_norm = true;
      ExportCase item{type, {}, {{1, 9}}, {}, false, options.vocab};
      if (dtype == DType::kBF16) item.min_opset = 13;
      item.graph = test::load_tiny(dir / "model", type, options).graph;
      expect_roundtrip(item);
    }
}

TEST(OnnxRoundtrip, TinyModelsOfEveryVisionFamily) {
  for (const auto& [name, config] : test::tiny_vision_configs()) {
    const test::TempDir dir;
    Model model = test::load_tiny_vision(dir.path(), config);
    ExportCase item{name, std::move(model.graph), model.example_inputs, {}, false, config.value("vocab_size", 0)};
    expect_roundtrip(item);
  }
}

TEST(OnnxRoundtrip, TheEmbeddedModelAtTwoLengths) {
  for (const Shape& shape : {Shape{1, 16}, Shape{3, 33}}) {
    const Model model = load_model(resolve_model("espalier-tiny"));
    ExportCase item{"embedded", model.graph.clone(), {shape}, {}, false, model.vocab_size};
    const OnnxModel exported = export_onnx(item.graph, {{1, 8}}, nullptr);
    expect_same(import_at(exported, item.graph, {shape}).graph, item, {shape});
  }
}

// The heads of an imported file go as those of a family's model do: masked and cut compute the same, and so does what is
// exported after the cut.
void expect_heads_can_go(const ExportCase& item, int64_t sets) {
  const Graph graph = import_at(export_onnx(item.graph, item.shapes, nullptr), item.graph, item.shapes).graph;
  const Coupling coupling = find_coupling(graph);
  int groups = 0;
  for (const CouplingGroup& group : coupling.groups) {
    if (group.kind != GroupKind::kHeads) continue;
    ++groups;
    EXPECT_EQ(group.set_count, sets);
    EXPECT_GE(group.block, 0) << group.label;
    for (const double share : {0.1, 0.3, 0.7}) {
      Rng rng(static_cast<uint64_t>(share * 10), group.label);
      const auto keep = test::random_keep(group.set_count, share, rng);
      Mask mask = Mask::for_model(graph);
      mask.remove_units(group, keep);
      ExportCase smaller{item.name, graph.clone(), item.shapes, {}, false, item.vocab};
      cut(smaller.graph, coupling, {test::cut_of(group, keep)});
      expect_same(apply_mask(graph, mask), smaller, item.shapes);
      expect_same(import_at(export_onnx(smaller.graph, item.shapes, nullptr), smaller.graph, item.shapes).graph, smaller, item.shapes);
    }
  }
  EXPECT_EQ(groups, graph.block_count);
  EXPECT_GT(groups, 1);
}

TEST(OnnxRoundtrip, HeadsOfImportedModelsCanGo) {
  for (const std::string name : {"Vit", "VitPacked", "VitPostNorm", "Bert"}) {
    const test::TempDir dir;
    const Json& config = test::tiny_vision_configs().at(name);
    Model model = test::load_tiny_vision(dir.path(), config);
    expect_heads_can_go({name, std::move(model.graph), model.example_inputs, {}, false, config.value("vocab_size", 0)},
                        config.at("num_attention_heads").get<int64_t>());
  }
  const test::TempDir dir;
  for (const std::string type : {"llama", "gpt2"}) {
    ExportCase item{type, test::load_tiny(dir / type, type).graph, {{1, 9}}, {}, false, 31};
    expect_heads_can_go(item, type == "llama" ? 2 : 4);
  }
}

// A second export of what was imported changes nothing in what is computed, and keeps the weights' bytes and names.
TEST(OnnxRoundtrip, ASecondExportKeepsTheWeights) {
  const test::TempDir dir;
  ExportCase item{"llama", test::load_tiny(dir / "model", "llama").graph, {{1, 9}}, {}, false, 31};
  const OnnxImport first = import_at(export_onnx(item.graph, item.shapes, nullptr), item.graph, item.shapes);
  const OnnxModel second = export_onnx(first.graph, first.input_shapes, first.source.get());
  expect_same(import_at(second, item.graph, item.shapes).graph, item, item.shapes);
  std::map<std::string, std::string_view> tensors;
  for (const OnnxTensor& tensor : first.source->model.graph.initializers) tensors[tensor.name] = tensor.data.view;
  size_t kept = 0;
  for (const OnnxTensor& tensor : second.graph.initializers)
    if (item.graph.has_parameter(tensor.name)) {
      EXPECT_EQ(tensor.data.view, tensors.at(tensor.name)) << tensor.name;
      ++kept;
    }
  EXPECT_EQ(kept, item.graph.parameters().size());
}

}  // namespace
}  // namespace espalier
