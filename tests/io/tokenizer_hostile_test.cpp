// What a hostile tokenizer.json or text may try. Each test is one line of the list of attacks.
#include <gtest/gtest.h>

#include <array>
#include <ctime>

#include "espalier/core/json.h"
#include "espalier/io/tokenizers/vocab.h"
#include "tests/io/tokenizer_json.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

const std::string kLetters = R"({"a": 0, "b": 1, "ab": 2})";

std::string split_at(const std::string& regex) {
  return R"("pre_tokenizer": {"type": "Split", "pattern": {"Regex": )" + Json(regex).dump() +
         R"(}, "behavior": "Isolated"})";
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

TEST(TokenizerHostile, RegexBombs) {
  const std::string text = std::string(5000, 'a') + "!";
  for (const char* bomb : {"(a+)+$", "(a|aa)+$", "(a|a?)+$", "(?:a*)*b", "(.*a){30}", "((a+)(a+))+c", "(?R)?a+b"}) {
    const double start = cpu_seconds();
    try {
      tokenizer_of(bpe_json(kLetters, "[]"), split_at(bomb))->encode(text);
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find("regular expression"), std::string::npos) << error.what();
    }
    EXPECT_LT(cpu_seconds() - start, 20) << bomb;
  }
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(kLetters, "[]"), split_at("(a|aa)+$"))->encode(text), "gave up");
}

TEST(TokenizerHostile, RegexesThatAreRefused) {
  const auto load = [](const std::string& regex) { tokenizer_of(bpe_json(kLetters, "[]"), split_at(regex)); };
  ESP_EXPECT_USER_ERROR(load("(a"), "missing closing parenthesis");
  ESP_EXPECT_USER_ERROR(load("[a"), "at byte");
  ESP_EXPECT_USER_ERROR(load("\\"), "at byte");
  ESP_EXPECT_USER_ERROR(load("\\p{"), "at byte");
  ESP_EXPECT_USER_ERROR(load("\\p{Nonsense}"), "at byte");
  ESP_EXPECT_USER_ERROR(load("\\C"), "at byte");  // half a character
  ESP_EXPECT_USER_ERROR(load("[a-z&&[^b]]"), "&&");
  ESP_EXPECT_USER_ERROR(load("[a[^b]]"), "negated class inside a class");
  ESP_EXPECT_USER_ERROR(load(std::string(100'000, 'a')), "100000 bytes");
  ESP_EXPECT_USER_ERROR(load("((((a{1000}){1000}){1000}){1000})"), "too large");
  ESP_EXPECT_USER_ERROR(load(std::string(5000, '(') + std::string(5000, ')')), "nested");
}

TEST(TokenizerHostile, AMatchThatMovesBackwards) {
  const std::string text = "aab";
  for (const char* odd : {"(?=ab\\K)", "(?<=a\\Ka)b", "a\\K", "(?=(a\\K))b?"}) {
    try {
      EXPECT_EQ(tokenizer_of(bpe_json(kLetters, "[]"), split_at(odd))->encode(text), (Ids{0, 0, 1})) << odd;
    } catch (const UserError&) {
    }
  }
}

TEST(TokenizerHostile, TooManyMerges) {
  std::string merges = "[";
  merges.reserve(tok::kMaxMerges * 6 + 16);
  for (size_t i = 0; i <= tok::kMaxMerges; ++i) merges += "\"\",";
  merges.back() = ']';
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(kLetters, merges)), "merges; at most");
}

TEST(TokenizerHostile, ManyMerges) {
  std::string merges = "[";
  for (int i = 0; i < 100'000; ++i) merges += "\"a b\",";
  merges.back() = ']';
  EXPECT_EQ(tokenizer_of(bpe_json(kLetters, merges))->encode("abab"), (Ids{2, 2}));
}

TEST(TokenizerHostile, AMergeThatNamesAMissingToken) {
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(kLetters, R"(["x b"])")), "merge 0 needs the token 'x'");
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(kLetters, R"(["a b", ["a", "y"]])")), "merge 1 needs the token 'y'");
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(kLetters, R"(["b a"])")), "needs the token 'ba'");
}

TEST(TokenizerHostile, MergesOfAnotherShape) {
  for (const char* bad : {R"(["ab"])", R"(["a  b"])", R"(["a b c"])", R"([["a"]])", R"([["a", "b", "ab"]])",
                          R"([["a", 1]])", "[7]", "[null]"})
    ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(kLetters, bad)), "merge 0");
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(kLetters, "{}")), "merges: expected an array");
  ESP_EXPECT_USER_ERROR(tokenizer_of(R"({"type": "BPE", "vocab": {"a": 0}})"),
                        "merges: expected an array, found nothing");
}

// A token joined of itself and nothing would never be done.
TEST(TokenizerHostile, MergeCycles) {
  const std::string vocab = R"({"": 0, "a": 1, "aa": 2, "aaa": 3, "##": 4, "##a": 5})";
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(vocab, R"([["", "a"]])")), "both must have text");
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(vocab, R"(["a "])")), "both must have text");
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(vocab, R"(["a ##"])", R"("continuing_subword_prefix": "##")")),
                        "both must have text");
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(vocab, R"(["a a"])", R"("continuing_subword_prefix": "##")")),
                        "both must have text");
  // Merges that feed each other end all the same, as each makes one symbol of two.
  EXPECT_EQ(tokenizer_of(bpe_json(vocab, R"(["aa a", "a aa", "a a"])"))->encode("aaaaa"), (Ids{3, 2}));
}

TEST(TokenizerHostile, AddedTokensThatOverlapNormalOnes) {
  const auto load = [](const std::string& added) {
    return tokenizer_of(bpe_json(kLetters, R"(["a b"])"), R"("added_tokens": [)" + added + "]");
  };
  EXPECT_EQ(load(R"({"id": 2, "content": "ab", "special": true})")->encode("aab"), (Ids{0, 2}));  // one and the same
  EXPECT_EQ(load(R"({"id": 3, "content": "ba", "normalized": false})")->encode("abab"), (Ids{0, 3, 1}));
  ESP_EXPECT_USER_ERROR(load(R"({"id": 1, "content": "ab"})"), "has id 1, in the model's vocabulary 2");
  ESP_EXPECT_USER_ERROR(load(R"({"id": 2, "content": "new"})"), "has id 2, which is 'ab'");
  ESP_EXPECT_USER_ERROR(load(R"({"id": 9, "content": "ab"})"), "has id 9");
  ESP_EXPECT_USER_ERROR(load(R"({"id": 3, "content": "x"}, {"id": 3, "content": "y"})"), "another one");
  ESP_EXPECT_USER_ERROR(load(R"({"id": 3, "content": "x"}, {"id": 4, "content": "x"})"), "another one");
  ESP_EXPECT_USER_ERROR(load(R"({"id": -1, "content": "x"})"), "found -1");
  ESP_EXPECT_USER_ERROR(load(R"({"id": 4294967296, "content": "x"})"), "found 4294967296");
  ESP_EXPECT_USER_ERROR(load(R"({"content": "x"})"), "added_tokens[0]: the field 'id'");
  ESP_EXPECT_USER_ERROR(load("7"), "expected an object");
  EXPECT_EQ(load(R"({"id": 3, "content": ""})")->encode("ab"), (Ids{2}));  // an empty one never matches
}

TEST(TokenizerHostile, VocabularyIds) {
  const auto load = [](const std::string& vocab) { return tokenizer_of(bpe_json(vocab, "[]")); };
  const auto holes = load(R"({"a": 5, "b": 1000})");
  EXPECT_EQ(holes->encode("ab"), (Ids{5, 1000}));
  EXPECT_EQ(holes->vocab_size(), 1001);
  EXPECT_EQ(holes->decode(Ids{0, 5, 6, 999}), "a");
  ESP_EXPECT_USER_ERROR(load(R"({"a": 0, "b": 0})"), "'a' and 'b' have the same id 0");
  ESP_EXPECT_USER_ERROR(load(R"({"a": -1})"), "found -1");
  ESP_EXPECT_USER_ERROR(load(R"({"a": 2000000000})"), "found 2000000000");  // a table by id would have 8 GB
  ESP_EXPECT_USER_ERROR(load(R"({"a": 18446744073709551615})"), "an integer");
  ESP_EXPECT_USER_ERROR(load(R"({"a": 1.0})"), "found 1.0");
  ESP_EXPECT_USER_ERROR(load(R"({"a": "0"})"), "id of 'a'");
  ESP_EXPECT_USER_ERROR(load(R"({"a": 0, "a": 1})"), "twice");
  ESP_EXPECT_USER_ERROR(load("{}"), "no tokens");
  ESP_EXPECT_USER_ERROR(load("[]"), "an object from token to id");
}

TEST(TokenizerHostile, ATokenOfTenMegabytes) {
  const std::string token(10 << 20, 'a');
  ESP_EXPECT_USER_ERROR(tokenizer_of(bpe_json(R"({"a": 0, ")" + token + R"(": 1})", "[]")), "10485760 bytes");
  ESP_EXPECT_USER_ERROR(tokenizer_of(R"({"type": "Unigram", "vocab": [[")" + token + R"(", -1]]})"), "10485760 bytes");
  ESP_EXPECT_USER_ERROR(
      tokenizer_of(bpe_json(kLetters, "[]"), R"("added_tokens": [{"id": 3, "content": ")" + token + R"("}])"),
      "10485760 bytes");
}

TEST(TokenizerHostile, ALongTokenIsFound) {
  const std::string token(tok::kMaxTokenBytes, 'a');
  const auto tokenizer =
      tokenizer_of(R"({"type": "Unigram", "vocab": [["b", -1], [")" + token + R"(", -1], ["a", -1]]})");
  EXPECT_EQ(tokenizer->encode(token + "b"), (Ids{1, 0}));
}

TEST(TokenizerHostile, FilesThatAreNotUtf8OrNotJson) {
  const auto load = [](const std::string& text) { Tokenizer::from_json(text, "t.json"); };
  ESP_EXPECT_USER_ERROR(load("{\"model\": \"\xff\"}"), "not valid UTF-8");
  ESP_EXPECT_USER_ERROR(load("{\"model\": \"\xc0\xaf\"}"), "not valid UTF-8");  // overlong
  ESP_EXPECT_USER_ERROR(load(R"({"model": "\ud800"})"), "not valid JSON");      // a lone surrogate
  ESP_EXPECT_USER_ERROR(load(""), "not valid JSON");
  ESP_EXPECT_USER_ERROR(load("[]"), "top level: expected an object");
  ESP_EXPECT_USER_ERROR(load(std::string(100'000, '[')), "nested deeper");
  ESP_EXPECT_USER_ERROR(load(R"({"model": 7})"), "'model' is missing or no object");
  EXPECT_NO_THROW(load("\xef\xbb\xbf" + tokenizer_json(bpe_json(kLetters, "[]"))));  // a byte order mark
}

TEST(TokenizerHostile, UnigramScores) {
  const auto load = [](const std::string& score) {
    return tokenizer_of(R"({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", )" + score + "]]}");
  };
  ESP_EXPECT_USER_ERROR(load("-1e999"), "not valid JSON");
  ESP_EXPECT_USER_ERROR(load("NaN"), "not valid JSON");
  ESP_EXPECT_USER_ERROR(load("-Infinity"), "not valid JSON");
  ESP_EXPECT_USER_ERROR(load("null"), "finite score");
  ESP_EXPECT_USER_ERROR(load("\"-1\""), "finite score");
  EXPECT_EQ(load("-1e308")->encode("aaaa"), (Ids{1, 1, 1, 1}));  // sums overflow, the path is still one
  ESP_EXPECT_USER_ERROR(tokenizer_of(R"({"type": "Unigram", "unk_id": 1, "vocab": [["a", 0]]})"), "unk_id");
  ESP_EXPECT_USER_ERROR(tokenizer_of(R"({"type": "Unigram", "vocab": [["a", 0], ["a", 0]]})"), "stands twice");
  ESP_EXPECT_USER_ERROR(tokenizer_of(R"({"type": "Unigram", "vocab": {"a": 0}})"), "array of [token, score]");
}

TEST(TokenizerHostile, ByteFallbackWithoutTheBytes) {
  const auto tokenizer = tokenizer_of(
      bpe_json(R"({"a": 0, "<0xC3>": 1, "<unk>": 2})", "[]", R"("byte_fallback": true, "unk_token": "<unk>")"));
  EXPECT_EQ(tokenizer->encode("aé"), (Ids{0, 2}));
  EXPECT_EQ(tokenizer_of(bpe_json(R"({"a": 0})", "[]", R"("byte_fallback": true)"))->encode("aé"), (Ids{0}));
}

// 8 MB without a space: a quadratic algorithm would need hours.
TEST(TokenizerHostile, LongTextWithoutSpaces) {
  std::string text;
  for (size_t i = 0; i < 8'000'000; ++i) text += "ab"[i * 7919 % 11 % 2];
  const double start = cpu_seconds();
  const Ids ids =
      tokenizer_of(bpe_json(R"({"a": 0, "b": 1, "ab": 2, "abab": 3})", R"(["a b", "ab ab"])"))->encode(text);
  EXPECT_LT(cpu_seconds() - start, 60);
  size_t covered = 0;
  for (int32_t id : ids) covered += std::array{1, 1, 2, 4}[static_cast<size_t>(id)];
  EXPECT_EQ(covered, text.size());
}

TEST(TokenizerHostile, LongTextWithoutSpacesUnigram) {
  const std::string text(4'000'000, 'a');
  const double start = cpu_seconds();
  const Ids ids = tokenizer_of(R"({"type": "Unigram", "vocab": [["a", -3], ["aa", -4], ["aaaa", -5]]})")->encode(text);
  EXPECT_LT(cpu_seconds() - start, 30);
  EXPECT_EQ(ids, Ids(1'000'000, 2));
}

TEST(TokenizerHostile, TemplatesWithUnknownIds) {
  const auto load = [](const std::string& post) {
    tokenizer_of(bpe_json(kLetters, "[]"), R"("post_processor": )" + post);
  };
  const auto with = [&](const std::string& single, const std::string& special) {
    load(R"({"type": "TemplateProcessing", "single": )" + single + R"(, "pair": [], "special_tokens": )" + special +
         "}");
  };
  const std::string good = R"([{"SpecialToken": {"id": "X"}}, {"Sequence": {"id": "A"}}])";
  ESP_EXPECT_USER_ERROR(with(good, R"({"X": {"ids": [3]}})"), "expected the id of a token, found 3");
  ESP_EXPECT_USER_ERROR(with(good, R"({"X": {"ids": [-1]}})"), "found -1");
  ESP_EXPECT_USER_ERROR(with(good, R"({"X": {"ids": ["a"]}})"), "the id of a token");
  ESP_EXPECT_USER_ERROR(with(good, R"({"X": {}})"), "an array of ids");
  ESP_EXPECT_USER_ERROR(with(good, "{}"), "'X' is missing from special_tokens");
  ESP_EXPECT_USER_ERROR(with("[]", "{}"), "0 times");
  ESP_EXPECT_USER_ERROR(with(R"([{"Sequence": {"id": "A"}}, {"Sequence": {"id": "A"}}])", "{}"), "2 times");
  ESP_EXPECT_USER_ERROR(with(R"([{"Sequence": {"id": "B"}}])", "{}"), "expected A");
  ESP_EXPECT_USER_ERROR(with("[7]", "{}"), "a Sequence or a SpecialToken");
  ESP_EXPECT_USER_ERROR(load(R"({"type": "BertProcessing", "sep": ["x", 77], "cls": ["a", 0]})"), "found 77");
  ESP_EXPECT_USER_ERROR(load(R"({"type": "RobertaProcessing", "sep": 1, "cls": 2})"), "[token, id]");
}

TEST(TokenizerHostile, TextBombs) {
  std::string doubling;
  for (int i = 0; i < 60; ++i) doubling += R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"},)";
  doubling.pop_back();
  const auto bomb = tokenizer_of(bpe_json(kLetters, "[]"),
                                 R"("normalizer": {"type": "Sequence", "normalizers": [)" + doubling + "]}");
  ESP_EXPECT_USER_ERROR(bomb->encode("a"), "makes");
  const auto backward =
      tokenizer_of(bpe_json(kLetters, "[]"), R"("decoder": {"type": "Sequence", "decoders": [)" + doubling + "]}");
  ESP_EXPECT_USER_ERROR(backward->decode(Ids{0}), "makes");
  const std::string large(1 << 20, 'b');
  const auto single =
      tokenizer_of(bpe_json(kLetters, "[]"),
                   R"("normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": ")" + large + R"("})");
  ESP_EXPECT_USER_ERROR(single->encode(std::string(1000, 'a')), "makes");
}

}  // namespace
}  // namespace espalier::test
