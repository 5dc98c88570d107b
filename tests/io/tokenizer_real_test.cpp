// Real tokenizers. The expected ids were made with "tokenizers" 0.23 and "sentencepiece" 0.2.
#include <gtest/gtest.h>

#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "tests/io/tokenizer_json.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

const std::string kText = "Hello world! It's 3.14, naïve café…\n\tdef f(x):\n        return 你好 👍🏽";

// The first 200 000 bytes of WikiText-2 (without an unfinished character): number of ids, and FNV-1a over them.
void expect_wikitext(const Tokenizer& tokenizer, size_t count, uint64_t hash) {
  ESP_NEED_SHARED(file, "data/text/wikitext-2/test.txt");
  const std::string text = read_file(file, 1 << 24).substr(0, 200'000);
  const Ids ids = tokenizer.encode(std::string_view(text).substr(0, valid_utf8_prefix(text)));
  uint64_t sum = 14695981039346656037u;
  for (int32_t id : ids) sum = (sum ^ static_cast<uint64_t>(id)) * 1099511628211u;
  EXPECT_EQ(ids.size(), count);
  EXPECT_EQ(sum, hash);
}

TEST(TokenizerReal, Stories260K) {
  ESP_NEED_SHARED(model, "data/llama2c-stories260K/hf");
  const Ids expected{1,   346, 306, 414, 263, 304, 341, 443, 359, 413, 439, 419, 410, 472, 426, 475, 484,
                     432, 297, 412, 198, 178, 360, 280, 412, 431, 485, 486, 13,  12,  418, 411, 431, 272,
                     489, 444, 488, 467, 13,  410, 410, 410, 410, 410, 410, 410, 410, 276, 413, 425, 420,
                     416, 410, 231, 192, 163, 232, 168, 192, 410, 243, 162, 148, 144, 243, 162, 146, 192};
  const auto tokenizer = Tokenizer::load(model);
  EXPECT_EQ(tokenizer->encode(kText), expected);
  expect_wikitext(*tokenizer, 122358, 2832530050587226588u);
}

TEST(TokenizerReal, TinyGpt) {
  ESP_NEED_SHARED(model, "data/tinygpt-char-shakespeare/hf");
  const Ids expected{20, 43, 50, 50, 53, 1,  61, 53, 56, 50, 42, 2,  1,  21, 58, 5,  57, 1, 9,  8, 1,  1, 6,
                     1,  52, 39, 1,  60, 43, 1,  41, 39, 44, 1,  1,  0,  1,  42, 43, 44, 1, 44, 1, 62, 1, 10,
                     0,  1,  1,  1,  1,  1,  1,  1,  1,  56, 43, 58, 59, 56, 52, 1,  1,  1, 1,  1, 1};
  const auto tokenizer = Tokenizer::load(model);
  EXPECT_EQ(tokenizer->encode(kText), expected);
  expect_wikitext(*tokenizer, 199799, 4427424503420257693u);
}

TEST(TokenizerReal, Gpt2) {
  ESP_NEED_SHARED(model, "data/tokenizers/gpt2");
  const Ids expected{15496, 995,  0,   632,   338, 513,   13,  1415,  11,  41492, 40304, 1399, 198,
                     197,   4299, 277, 7,     87,  2599,  198, 220,   220, 220,   220,   220,  220,
                     220,   1441, 220, 19526, 254, 25001, 121, 50169, 235, 8582,  237,   121};
  const auto tokenizer = Tokenizer::load(model);
  EXPECT_EQ(tokenizer->encode(kText), expected);
  expect_wikitext(*tokenizer, 46692, 6913169066901831532u);
}

TEST(TokenizerReal, BertUncased) {
  ESP_NEED_SHARED(model, "data/tokenizers/bert-base-uncased");
  const Ids expected{101,  7592,  2088, 999,  2009, 1005, 1055, 1017, 1012, 2403, 1010, 15743, 7668,
                     1529, 13366, 1042, 1006, 1060, 1007, 1024, 2709, 100,  100,  100,  102};
  const auto tokenizer = Tokenizer::load(model);
  EXPECT_EQ(tokenizer->encode(kText), expected);
  expect_wikitext(*tokenizer, 46551, 3914896668327787497u);
}

TEST(TokenizerReal, Llama2) {
  ESP_NEED_SHARED(model, "data/tokenizers/llama2/tokenizer.model");
  const Ids expected{1,     15043, 3186,  29991, 739,   29915, 29879, 29871, 29941, 29889, 29896, 29946, 29892, 1055,
                     30085, 345,   274,   28059, 30098, 13,    12,    1753,  285,   29898, 29916, 1125,  13,    4706,
                     736,   29871, 30919, 31076, 29871, 243,   162,   148,   144,   243,   162,   146,   192};
  const auto tokenizer = Tokenizer::load(model);
  EXPECT_EQ(tokenizer->encode(kText), expected);
  expect_wikitext(*tokenizer, 54262, 6867849385459774872u);
}

TEST(TokenizerReal, WikiTextComesBackUnchanged) {
  ESP_NEED_SHARED(folder, "data/tokenizers");
  ESP_NEED_SHARED(file, "data/text/wikitext-2/test.txt");
  const std::string text = read_file(file, 1 << 24).substr(0, 400'000);
  for (const char* name : {"gpt2", "llama2/tokenizer.model"}) {
    const auto tokenizer = Tokenizer::load(folder / name);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << name;
  }
}

}  // namespace
}  // namespace espalier::test
