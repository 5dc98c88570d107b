// The engine's logits against those of Hugging Face transformers, on tiny models of every family; and that the way in which
// tokens are fed (batches, chunks, threads) changes nothing.
#include "espalier/engine/decoder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/families/reference_cases.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::vector<int32_t> narrow(const std::vector<int64_t>& ids) { return {ids.begin(), ids.end()}; }

// [tokens, vocab], fed in pieces of `piece` tokens.
std::vector<float> all_logits(Decoder& decoder, const std::vector<int32_t>& ids, size_t piece, const AttentionRequest& request = {}) {
  const auto sequence = decoder.start(request);
  const auto vocab = static_cast<size_t>(decoder.vocab_size());
  std::vector<float> logits(ids.size() * vocab);
  for (size_t at = 0; at < ids.size(); at += piece) {
    const ForwardWork work{sequence.get(), std::span(ids).subspan(at, std::min(piece, ids.size() - at)), logits.data() + at * vocab, true};
    decoder.forward({&work, 1});
  }
  return logits;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float most = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::max(most, std::isnan(a[i]) ? INFINITY : std::fabs(a[i] - b[i]));
  return most;
}

struct DecoderTest : testing::Test {
  void SetUp() override {
    for (const auto& reference : test::reference_cases()) {
      test::write_tiny(dir / reference.name, reference.model);
      cases.push_back(reference);
    }
    ASSERT_EQ(cases.size(), 17u);
  }
  Decoder open(const test::ReferenceCase& reference, DecoderOptions options = {}) { return Decoder(load_model(dir / reference.name), options); }

  test::TempDir dir;
  std::vector<test::ReferenceCase> cases;
};

TEST_F(DecoderTest, LogitsOfEveryFamilyInOneGoInPiecesAndTokenByToken) {
  for (const auto& reference : cases) {
    SCOPED_TRACE(reference.name);
    Decoder decoder = open(reference, {.threads = 2});
    for (size_t piece : {reference.ids.size(), size_t{3}, size_t{1}})
      EXPECT_LT(largest_difference(all_logits(decoder, narrow(reference.ids), piece), reference.logits), 1e-4f) << piece;
  }
}

TEST_F(DecoderTest, ThreadsGiveTheSameBits) {
  for (const auto& reference : cases) {
    SCOPED_TRACE(reference.name);
    Decoder one = open(reference, {.threads = 1}), three = open(reference, {.threads = 3});
    EXPECT_EQ(all_logits(one, narrow(reference.ids), 1), all_logits(three, narrow(reference.ids), 1));
    EXPECT_LT(largest_difference(all_logits(one, narrow(reference.ids), 64), all_logits(three, narrow(reference.ids), 64)), 1e-5f);
  }
}

TEST_F(DecoderTest, SmallChunksGiveTheSameLogits) {
  for (const auto& reference : cases) {
    SCOPED_TRACE(reference.name);
    Decoder decoder = open(reference, {.threads = 2, .chunk = 2});
    EXPECT_LT(largest_difference(all_logits(decoder, narrow(reference.ids), 64), reference.logits), 1e-4f);
  }
}

TEST_F(DecoderTest, ABatchEqualsItsSequencesAlone) {
  for (const auto& reference : cases) {
    SCOPED_TRACE(reference.name);
    Decoder decoder = open(reference, {.threads = 2});
    const auto vocab = static_cast<size_t>(decoder.vocab_size());
    const auto ids = narrow(reference.ids);
    std::vector<std::unique_ptr<AttentionSequence>> sequences;
    std::vector<std::vector<float>> logits(8, std::vector<float>(vocab));
    for (size_t i = 0; i < 8; ++i) sequences.push_back(decoder.start());
    // Sequence i has read i tokens before all of them go on together, token by token.
    for (size_t i = 1; i < 8 && i < ids.size(); ++i) {
      const ForwardWork work{sequences[i].get(), std::span(ids).subspan(0, i), nullptr, false};
      decoder.forward({&work, 1});
    }
    std::vector<ForwardWork> work;
    for (size_t i = 0; i < 8 && i + 1 < ids.size(); ++i) work.push_back({sequences[i].get(), std::span(ids).subspan(i, 1), logits[i].data(), false});
    decoder.forward(work);
    const auto alone = all_logits(decoder, ids, 1);
    for (size_t i = 0; i < work.size(); ++i) {
      const std::vector<float> expected(alone.begin() + static_cast<std::ptrdiff_t>(i * vocab), alone.begin() + static_cast<std::ptrdiff_t>((i + 1) * vocab));
      EXPECT_LT(largest_difference(logits[i], expected), 1e-5f) << i;
    }
  }
}

TEST_F(DecoderTest, PromptsAndDecodingMixInOneForward) {
  const auto& reference = cases.front();
  Decoder decoder = open(reference, {.threads = 2, .chunk = 5});
  const auto vocab = static_cast<size_t>(decoder.vocab_size());
  const auto ids = narrow(reference.ids);
  ASSERT_GE(ids.size(), 4u);
  const auto first = decoder.start(), second = decoder.start();
  ForwardWork start{first.get(), std::span(ids).subspan(0, 3), nullptr, false};
  decoder.forward({&start, 1});
  std::vector<float> one(vocab), whole(ids.size() * vocab);
  const ForwardWork both[] = {{first.get(), std::span(ids).subspan(3, 1), one.data(), false}, {second.get(), ids, whole.data(), true}};
  decoder.forward(both);
  EXPECT_LT(largest_difference(whole, reference.logits), 1e-4f);
  EXPECT_LT(largest_difference(one, {whole.begin() + static_cast<std::ptrdiff_t>(3 * vocab), whole.begin() + static_cast<std::ptrdiff_t>(4 * vocab)}), 1e-4f);
}

TEST_F(DecoderTest, NarrowerPrecisionsStayWithinTheirBounds) {
  struct Bound {
    Precision precision;
    int64_t group;
    float share;  // of the largest logit
  };
  for (const auto& reference : cases) {
    float scale = 0;
    for (float logit : reference.logits) scale = std::max(scale, std::fabs(logit));
    for (const Bound& bound : {Bound{Precision::kF16, 0, 2e-3f}, {Precision::kBF16, 0, 2e-2f}, {Precision::kI8, 0, 4e-2f}, {Precision::kI8, 32, 4e-2f}}) {
      SCOPED_TRACE(reference.name + " " + to_string(WeightForm{bound.precision, Layout::kDense, bound.group}));
      Decoder decoder = open(reference, {.threads = 1, .precision = bound.precision, .int8_group = bound.group});
      const float difference = largest_difference(all_logits(decoder, narrow(reference.ids), 1), reference.logits);
      EXPECT_LT(difference, bound.share * scale);
      EXPECT_GT(difference, 0);
    }
  }
}

TEST_F(DecoderTest, WrongInputLeavesSequencesUntouched) {
  const auto& reference = cases.front();
  Decoder decoder = open(reference);
  const auto sequence = decoder.start({}, 4);
  const std::vector<int32_t> unknown = {0, static_cast<int32_t>(decoder.vocab_size())}, many(5, 1);
  ForwardWork work{sequence.get(), unknown, nullptr, false};
  ESP_EXPECT_USER_ERROR(decoder.forward({&work, 1}), "vocabulary");
  work.tokens = many;
  ESP_EXPECT_USER_ERROR(decoder.forward({&work, 1}), "room for 4");
  EXPECT_EQ(sequence->length(), 0);
}

TEST(Decoder, RefusesGraphsThatAreNoDecoders) {
  ESP_EXPECT_USER_ERROR(Decoder(load_model(test::assets_dir() / "models/espalier-fashion-cnn"), {}), "what a language model is made of");
}

}  // namespace
}  // namespace espalier
