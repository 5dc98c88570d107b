// Outputs of every vision family and of BERT against torchvision and transformers, on tiny models with the same
// weights.
#include <gtest/gtest.h>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "tests/families/vision_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

at::Tensor input_of(const test::VisionReference& reference) {
  if (reference.input.size() == 4)
    return at::tensor(test::tiny_values("pixel_values", reference.input)).view(reference.input);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < element_count(reference.input); ++i)
    ids.push_back((7 * i + 3) % reference.model.config.at("vocab_size").get<int64_t>());
  return at::tensor(ids).view(reference.input);
}

class VisionReferences : public ::testing::TestWithParam<test::VisionReference> {};

TEST_P(VisionReferences, AreReached) {
  const test::VisionReference& reference = GetParam();
  const test::TempDir dir;
  test::write_tiny(dir / "m", reference.model);
  const Model model = load_model(dir / "m");
  EXPECT_EQ(model.graph.parameters().size(), reference.model.tensors.size());
  Weights weights(model.graph);
  Environment values{{model.graph.inputs.at(0), input_of(reference)}};
  Interpreter(model.graph, weights).run(values, 0, static_cast<NodeId>(model.graph.nodes.size()));
  ASSERT_EQ(model.graph.outputs.size(), reference.outputs.size());
  for (size_t i = 0; i < reference.outputs.size(); ++i) {
    const at::Tensor found = values.at(model.graph.outputs[i]);
    const at::Tensor expected = at::tensor(reference.outputs[i]).view(found.sizes());
    const double scale = std::max(1.0, expected.abs().max().item<double>());
    EXPECT_LT((found - expected).abs().max().item<double>() / scale, 2e-5);
    EXPECT_GT(expected.std().item<double>(), 0.05);  // the case says something
  }
}

INSTANTIATE_TEST_SUITE_P(Models, VisionReferences, ::testing::ValuesIn(test::vision_references()),
                         [](const auto& reference) { return reference.param.name; });

}  // namespace
}  // namespace espalier
