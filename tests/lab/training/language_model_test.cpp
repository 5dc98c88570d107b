// What the embedded models' training is made of.
#include "espalier/lab/training/language_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "espalier/families/family.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/bpe_trainer.h"
#include "espalier/lab/training/fresh_model.h"
#include "tests/support.h"

namespace espalier {
namespace {

TEST(BpeTrainer, SingleDigitsAreNeverMerged) {
  const std::string text = "in 1812 and 1812 and 1812 it was 1812 again, again and again";
  const auto digit = [](const std::string& token) { return token.size() > 1 && std::any_of(token.begin(), token.end(), [](unsigned char c) { return std::isdigit(c); }); };
  const auto merged = train_bpe(text, 280, false).tokens, single = train_bpe(text, 280, true).tokens;
  EXPECT_TRUE(std::any_of(merged.begin(), merged.end(), digit));
  EXPECT_TRUE(std::none_of(single.begin(), single.end(), digit));
}

std::vector<double> losses(const test::TempDir& dir, bool weighted, int64_t stop) {
  Model model = load_model(dir / "model");
  LanguageTraining options;
  options.steps = 4, options.warmup = 1, options.report_every = 1, options.stop = stop;
  std::vector<double> found;
  const auto next = [&](int64_t step) {
    LanguageBatch batch;
    batch.ids = (at::arange(2 * 9, at::kLong).view({2, 9}) * 7 + step) % 40;
    if (weighted) batch.weights = at::full({2, 8}, 1.0 / 16), batch.fetch = at::ones({2, 8}, at::kBool);
    return batch;
  };
  train_language_model(model.graph, next, options, [&](const TrainingReport& r) {
    found.push_back(r.loss);
    if (weighted) EXPECT_NEAR(r.fetch_loss, r.loss, 1e-5);
  }, [](const Graph&) {});
  return found;
}

TEST(LanguageModel, EqualWeightsAreTheMeanAndALeftOffTrainingIsThePartOfTheWhole) {
  const test::TempDir dir;
  std::filesystem::create_directories(dir / "model");
  write_fresh_llama({.vocab = 40, .hidden = 16, .layers = 1, .heads = 2, .kv_heads = 1, .ffn = 32, .context = 16, .deviation = 0.2}, 0, dir / "model");
  const auto plain = losses(dir, false, 0), weighted = losses(dir, true, 0), part = losses(dir, false, 2);
  ASSERT_EQ(plain.size(), 4u);
  ASSERT_EQ(part.size(), 2u);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(plain[i], weighted[i], 1e-5);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(plain[i], part[i]);
}

}  // namespace
}  // namespace espalier
