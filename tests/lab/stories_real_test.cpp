// A real trained model against its source and against Hugging Face transformers.
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/torch.h"
#include "tests/lab/stories.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

// In the protocol of its source: each piece alone, with BOS.
TEST(Stories260K, PerplexityIsThatOfItsSource) {
  ESP_NEED_SHARED(path, "data/llama2c-stories260K/hf");
  ESP_NEED_SHARED(text, "data/text/tinystories-sample/tinystories_val.txt");
  const Model model = load_model(path);
  const auto tokenizer = Tokenizer::load(path);
  double nats = 0;
  int64_t tokens = 0;
  for (const auto& story : stories(text, 60, 200)) {
    auto ids = tokenizer->encode(story, true);
    ids.resize(std::min<size_t>(ids.size(), static_cast<size_t>(model.context_length)));
    const Quality quality = measure_quality(model.graph, {ids}, model.context_length, model.context_length);
    nats += quality.nats_per_token * static_cast<double>(quality.tokens);
    tokens += quality.tokens;
  }
  EXPECT_EQ(tokens, 7054);
  EXPECT_NEAR(std::exp(nats / static_cast<double>(tokens)), 4.327, 0.005 * 4.327) << tokens << " tokens";
}

// tests/judge/make_reference_logits.py made the numbers.
TEST(Stories260K, LogitsAreThoseOfTransformers) {
  ESP_NEED_SHARED(path, "data/llama2c-stories260K/hf");
  const Json reference =
      read_json(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/lab/data/stories260K_logits.json");
  const auto ids = reference.at("ids").get<std::vector<int64_t>>();
  const auto encoded = Tokenizer::load(path)->encode(reference.at("text").get<std::string>(), true);
  EXPECT_EQ(std::vector<int64_t>(encoded.begin(), encoded.end()), ids);

  const Model model = load_model(path);
  Weights weights(model.graph);
  const at::Tensor logits = Interpreter(model.graph, weights).forward(at::tensor(ids).unsqueeze(0))[0];
  const auto positions = reference.at("positions").get<int64_t>();
  const at::Tensor expected = at::tensor(reference.at("logits").get<std::vector<float>>()).view({positions, -1});
  const at::Tensor found = logits.slice(0, logits.size(0) - positions);
  ASSERT_EQ(found.sizes(), expected.sizes());
  const auto difference = (found - expected).abs().max().item<float>();
  std::printf("largest difference of a logit: %.2g, their spread %.2g\n", difference, expected.std().item<float>());
  EXPECT_LT(difference, 1e-4);
  EXPECT_TRUE(at::equal(logits.argmax(1), at::tensor(reference.at("argmax").get<std::vector<int64_t>>())));
}

}  // namespace
}  // namespace espalier::test
