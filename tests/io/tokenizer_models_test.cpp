// The models against slow and obvious versions of themselves, and against ids worked out by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "espalier/core/json.h"
#include "espalier/core/rng.h"
#include "tests/io/tokenizer_json.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

std::string random_text(Rng& rng, size_t length, const std::string& letters) {
  std::string text;
  for (size_t i = 0; i < length; ++i) text += letters[rng.below(letters.size())];
  return text;
}

// BPE as defined: as long as neighbours can be joined, join the pair of the lowest rank, the leftmost first.
std::vector<std::string> slow_bpe(const std::string& text,
                                  const std::vector<std::pair<std::string, std::string>>& merges) {
  std::vector<std::string> symbols;
  for (char c : text) symbols.emplace_back(1, c);
  for (;;) {
    size_t best = merges.size(), place = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      for (size_t rank = 0; rank < best; ++rank) {
        if (merges[rank] == std::pair(symbols[i], symbols[i + 1])) best = rank, place = i;
      }
    }
    if (best == merges.size()) return symbols;
    symbols[place] += symbols[place + 1];
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(place) + 1);
  }
}

TEST(TokenizerModels, BpeEqualsItsDefinition) {
  Rng rng(3, "bpe");
  for (int round = 0; round < 60; ++round) {
    std::map<std::string, int> vocab{{"a", 0}, {"b", 1}, {"c", 2}};
    std::vector<std::string> tokens{"a", "b", "c"};
    std::vector<std::pair<std::string, std::string>> merges;
    while (merges.size() < 12) {
      const std::pair pair(tokens[rng.below(tokens.size())], tokens[rng.below(tokens.size())]);
      const std::string joined = pair.first + pair.second;
      if (vocab.contains(joined)) continue;  // else one token has two ranks, and stale queue entries may matter
      vocab.emplace(joined, static_cast<int>(vocab.size()));
      tokens.push_back(joined);
      merges.push_back(pair);
    }
    Json list = Json::array(), strings = Json::array();
    for (const auto& [left, right] : merges) {
      list.push_back({left, right});
      strings.push_back(left + " " + right);
    }
    const auto tokenizer = tokenizer_of(bpe_json(Json(vocab).dump(), list.dump()));
    const auto same = tokenizer_of(bpe_json(Json(vocab).dump(), strings.dump()));
    for (int i = 0; i < 30; ++i) {
      const std::string text = random_text(rng, 1 + rng.below(40), "abc");
      Ids expected;
      for (const auto& symbol : slow_bpe(text, merges)) expected.push_back(vocab.at(symbol));
      EXPECT_EQ(tokenizer->encode(text), expected) << text;
      EXPECT_EQ(same->encode(text), expected) << text;
    }
  }
}

TEST(TokenizerModels, BpeUnknownCharacters) {
  const std::string vocab = R"({"a": 0, "<unk>": 1, "<0xC3>": 2, "<0xA9>": 3})";
  const auto ids = [&](const std::string& options, const std::string& text) {
    return tokenizer_of(bpe_json(vocab, "[]", options))->encode(text);
  };
  EXPECT_EQ(ids("", "axya"), (Ids{0, 0}));  // without an unknown token they vanish
  EXPECT_EQ(ids(R"("unk_token": "<unk>")", "axya"), (Ids{0, 1, 1, 0}));
  EXPECT_EQ(ids(R"("unk_token": "<unk>", "fuse_unk": true)", "axya"), (Ids{0, 1, 0}));
  EXPECT_EQ(ids(R"("unk_token": "<unk>", "byte_fallback": true)", "éaè"), (Ids{2, 3, 0, 1}));
  ESP_EXPECT_USER_ERROR(ids(R"("unk_token": "<none>")", "x"), "'<none>' is not in the vocabulary");
}

TEST(TokenizerModels, BpeAffixes) {
  const std::string vocab = R"({"a": 0, "##b": 1, "##b</w>": 2, "a</w>": 3, "ab": 4, "##a": 5, "ab</w>": 6})";
  const std::string options = R"("continuing_subword_prefix": "##", "end_of_word_suffix": "</w>")";
  const auto tokenizer = tokenizer_of(bpe_json(vocab, R"(["a ##b", ["a", "##b</w>"]])", options));
  EXPECT_EQ(tokenizer->encode("a"), (Ids{3}));
  EXPECT_EQ(tokenizer->encode("ab"), (Ids{6}));
  EXPECT_EQ(tokenizer->encode("abb"), (Ids{4, 2}));
}

TEST(TokenizerModels, BpeIgnoresMergesForWholeTokens) {
  const std::string vocab = R"({"a": 0, "b": 1, "c": 2, "bc": 3, "abc": 4})";
  EXPECT_EQ(tokenizer_of(bpe_json(vocab, R"(["b c"])"))->encode("abc"), (Ids{0, 3}));
  EXPECT_EQ(tokenizer_of(bpe_json(vocab, R"(["b c"])", R"("ignore_merges": true)"))->encode("abc"), (Ids{4}));
}

TEST(TokenizerModels, BpeTheLastOfTwoEqualMergesCounts) {
  const std::string vocab = R"({"a": 0, "b": 1, "ab": 2, "ba": 3})";
  EXPECT_EQ(tokenizer_of(bpe_json(vocab, R"(["a b", "b a"])"))->encode("aba"), (Ids{2, 0}));
  EXPECT_EQ(tokenizer_of(bpe_json(vocab, R"(["a b", "b a", "a b"])"))->encode("aba"), (Ids{0, 3}));
}

TEST(TokenizerModels, BpeRefusesDropout) {
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(R"({"a": 0})", "[]", R"("dropout": 0.1)")), "dropout");
  EXPECT_NO_THROW(tokenizer_of(bpe_json(R"({"a": 0})", "[]", R"("dropout": 0.0)")));
}

// All segmentations, by recursion.
double best_score(const std::string& text, const std::map<std::string, double>& scores, double unk) {
  if (text.empty()) return 0;
  double best = -HUGE_VAL;
  for (size_t length = 1; length <= text.size(); ++length) {
    const auto found = scores.find(text.substr(0, length));
    if (found != scores.end()) best = std::max(best, found->second + best_score(text.substr(length), scores, unk));
    if (found == scores.end() && length == 1) best = std::max(best, unk + best_score(text.substr(1), scores, unk));
  }
  return best;
}

TEST(TokenizerModels, UnigramFindsTheBestSegmentation) {
  Rng rng(4, "unigram");
  for (int round = 0; round < 60; ++round) {
    std::map<std::string, double> scores;
    Json vocab = Json::array({Json::array({"<unk>", 0.0})});
    std::vector<double> by_id{0.0};
    for (int i = 0; i < 12; ++i) {
      const std::string token = random_text(rng, 1 + rng.below(4), "abc");
      const double score = -1 - static_cast<double>(rng.below(1000)) / 100;
      if (!scores.emplace(token, score).second) continue;
      vocab.push_back({token, score});
      by_id.push_back(score);
    }
    const auto tokenizer = tokenizer_of(R"({"type": "Unigram", "unk_id": 0, "vocab": )" + vocab.dump() + "}");
    const double unk = *std::min_element(by_id.begin(), by_id.end()) - 10;
    for (int i = 0; i < 20; ++i) {
      const std::string text = random_text(rng, 1 + rng.below(9), "abcd");
      double sum = 0;
      std::string spelled;
      for (int32_t id : tokenizer->encode(text)) {
        if (id == 0) continue;
        sum += by_id[static_cast<size_t>(id)];
        spelled += *tokenizer->id_to_token(id);
      }
      // Unknown characters are one token a run: count them from what the tokens leave.
      sum += unk * static_cast<double>(text.size() - spelled.size());
      EXPECT_NEAR(sum, best_score(text, scores, unk), 1e-9) << text << " " << vocab;
    }
  }
}

TEST(TokenizerModels, UnigramUnknownCharacters) {
  const std::string head = R"({"type": "Unigram", "vocab": [["<unk>", 0], ["a", -1], ["<0xC3>", -2], ["<0xA9>", -2]])";
  EXPECT_EQ(tokenizer_of(head + R"(, "unk_id": 0})")->encode("axya"), (Ids{1, 0, 1}));
  EXPECT_EQ(tokenizer_of(head + R"(, "unk_id": 0, "byte_fallback": true})")->encode("aéa"), (Ids{1, 2, 3, 1}));
  EXPECT_EQ(tokenizer_of(head + R"(, "unk_id": 0, "byte_fallback": true})")->encode("aèa"), (Ids{1, 0, 1}));
  ESP_EXPECT_USER_ERROR(tokenizer_of(head + "}")->encode("x"), "no unknown token");
}

TEST(TokenizerModels, WordPieceTakesTheLongest) {
  const std::string vocab = R"({"[UNK]": 0, "un": 1, "##aff": 2, "##able": 3, "##a": 4, "u": 5, "##ff": 6})";
  const auto tokenizer =
      tokenizer_of(R"({"type": "WordPiece", "max_input_chars_per_word": 8, "vocab": )" + vocab + "}");
  EXPECT_EQ(tokenizer->encode("unaffa"), (Ids{1, 2, 4}));
  EXPECT_EQ(tokenizer->encode("unaffx"), (Ids{0}));     // greedy: no way back
  EXPECT_EQ(tokenizer->encode("unaffable"), (Ids{0}));  // nine characters
  ESP_EXPECT_USER_ERROR(tokenizer_of(R"({"type": "WordPiece", "vocab": {"a": 0}})")->encode("b"), "[UNK]");
}

TEST(TokenizerModels, WordLevel) {
  const auto tokenizer = tokenizer_of(R"({"type": "WordLevel", "vocab": {"a": 3, "<unk>": 7}, "unk_token": "<unk>"})",
                                      R"("pre_tokenizer": {"type": "WhitespaceSplit"})");
  EXPECT_EQ(tokenizer->encode("a b a"), (Ids{3, 7, 3}));
  EXPECT_EQ(tokenizer->vocab_size(), 8);
  EXPECT_EQ(tokenizer->decode(Ids{3, 7, 5, -1, 99}), "a <unk>");  // holes and foreign ids are passed over
}

// Cutting before '▁' must not change anything; a vocabulary with a token across such a place must not be cut.
TEST(TokenizerModels, TokensAcrossTheSpaceSymbolAreFound) {
  const std::string cut = R"({"▁": 0, "a": 1, "▁a": 2})", across = R"({"▁": 0, "a": 1, "▁a": 2, "a▁": 3})";
  EXPECT_EQ(tokenizer_of(bpe_json(cut, R"(["▁ a"])"))->encode("a▁a▁▁a"), (Ids{1, 2, 0, 2}));
  EXPECT_EQ(tokenizer_of(bpe_json(across, R"(["a ▁", "▁ a"])"))->encode("a▁a▁▁a"), (Ids{3, 3, 2}));
}

TEST(TokenizerModels, UnknownModel) {
  ESP_EXPECT_USER_ERROR(tokenizer_of(R"({"type": "Neural"})"), "BPE, Unigram, WordLevel, WordPiece");
}

}  // namespace
}  // namespace espalier::test
