// Logits of every family against those of Hugging Face transformers, on tiny models with the same weights.
#include <gtest/gtest.h>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "tests/families/reference_cases.h"
#include "tests/support.h"

namespace espalier {
namespace {

at::Tensor logits_of(const Graph& graph, const std::vector<int64_t>& ids) {
  Weights weights(graph);
  return Interpreter(graph, weights).forward(at::tensor(ids).unsqueeze(0))[0];
}

TEST(ReferenceLogits, AllCasesWithinOneTenThousandth) {
  const test::TempDir dir;
  const auto cases = test::reference_cases();
  ASSERT_EQ(cases.size(), 17u);
  for (const auto& reference : cases) {
    SCOPED_TRACE(reference.name);
    test::write_tiny(dir / reference.name, reference.model);
    const Model model = load_model(dir / reference.name);
    const at::Tensor found = logits_of(model.graph, reference.ids);
    const at::Tensor expected = at::tensor(reference.logits).view(found.sizes());
    EXPECT_LT((found - expected).abs().max().item<float>(), 1e-4);
    EXPECT_GT(expected.std().item<float>(), 0.1);  // the case says something
  }
}

// A token at a time through the cache gives the logits of the whole sequence.
TEST(ReferenceLogits, TheCacheChangesNothing) {
  const test::TempDir dir;
  for (const auto& reference : test::reference_cases()) {
    SCOPED_TRACE(reference.name);
    test::write_tiny(dir / reference.name, reference.model);
    const Model model = load_model(dir / reference.name);
    Weights weights(model.graph);
    const Interpreter interpreter(model.graph, weights);
    KvCache cache;
    std::vector<at::Tensor> steps;
    for (int64_t id : reference.ids)
      steps.push_back(interpreter.forward(at::tensor(std::vector<int64_t>{id}).unsqueeze(0), nullptr, &cache)[0]);
    const at::Tensor found = at::cat(steps);
    EXPECT_LT((found - at::tensor(reference.logits).view(found.sizes())).abs().max().item<float>(), 1e-4);
  }
}

}  // namespace
}  // namespace espalier
