// A real trained model in the protocol of its source: each piece alone, with BOS.
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/core/file.h"
#include "espalier/families/family.h"
#include "espalier/io/tokenizer.h"
#include "espalier/lab/measure/quality.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

// The first `count` pieces between empty lines that have more than `length` characters.
std::vector<std::string> stories(const std::filesystem::path& path, size_t count, size_t length) {
  const std::string text = read_file(path, 16 << 20);
  std::vector<std::string> found;
  for (size_t at = 0, end; at < text.size() && found.size() < count; at = end + 2) {
    end = std::min(text.find("\n\n", at), text.size());
    if (end - at > length) found.push_back(text.substr(at, end - at));
  }
  return found;
}

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

}  // namespace
}  // namespace espalier::test
