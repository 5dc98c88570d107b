// SentencePiece models built by hand, good and hostile. Real ones are in tokenizer_test.cpp and
// tokenizer_real_test.cpp.
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/io/tokenizers/charsmap.h"
#include "espalier/io/tokenizers/sentencepiece.h"
#include "tests/io/sentencepiece_bytes.h"
#include "tests/io/tokenizer_json.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

using namespace spm;

std::shared_ptr<const Tokenizer> load(const std::string& model) {
  return Tokenizer::from_sentencepiece(model, "test.model");
}
std::string normalized(const std::string& model, std::string_view text) {
  return tok::make_sentencepiece_normalizer(tok::parse_sentencepiece(model, "test.model"), "t")
      ->normalize(text, tok::Left::kTextStart);
}

// A charsmap with one rule, "x" to replacement: a double array of a root, the leaf's parent at 'x', and its value.
std::string charsmap_of_x(const std::string& replacement, uint32_t value = 0) {
  std::vector<uint32_t> units(256, 0);
  units[0] = 1 << 10;                                   // root: offset 1
  units[1 ^ 'x'] = ('x' ^ 1 ^ 2) << 10 | 1 << 8 | 'x';  // label x, has a leaf at index 2
  units[2] = 1u << 31 | value;
  const uint32_t size = static_cast<uint32_t>(units.size() * 4);
  return std::string(reinterpret_cast<const char*>(&size), 4) +
         std::string(reinterpret_cast<const char*>(units.data()), size) + replacement + std::string(1, '\0');
}

TEST(SentencePiece, BpeJoinsByScoreThenFromTheLeft) {
  // Scores: aa best, then ab and ba with equal score.
  const std::string pieces = head() + piece("a", -10) + piece("b", -10) + piece("aa", -1) + piece("ab", -2) +
                             piece("ba", -2) + piece("aab", -3);
  const auto tokenizer = load(pieces + trainer(2) + normalizer("", false, false));
  EXPECT_EQ(tokenizer->encode("aba", false), (Ids{6, 3}));  // ab before ba: leftmost
  EXPECT_EQ(tokenizer->encode("bab", false), (Ids{7, 4}));
  EXPECT_EQ(tokenizer->encode("aaab", false), (Ids{5, 6}));
  EXPECT_EQ(tokenizer->encode("aab", false), (Ids{8}));
  EXPECT_EQ(tokenizer->encode("a", true), (Ids{1, 3}));
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(tokenizer->unk_id(), 0);
  EXPECT_EQ(tokenizer->pad_id(), std::nullopt);
}

TEST(SentencePiece, ControlPiecesInTextAreText) {
  const std::string pieces = head() + piece("<", -1) + piece("s", -2) + piece(">", -3);
  for (int kind : {1, 2})
    EXPECT_EQ(load(pieces + trainer(kind) + normalizer("", false, false))->encode("<s>", false), (Ids{3, 4, 5}));
}

TEST(SentencePiece, UserDefinedPiecesAreNotTakenApart) {
  const std::string pieces =
      head() + piece("a", -1) + piece("b", -2) + piece("ab", -3) + piece("bX", 0, 4) + piece("▁", -4);
  const auto tokenizer = load(pieces + trainer(2) + normalizer("", true, false));
  EXPECT_EQ(tokenizer->encode("abX ab", false), (Ids{7, 3, 6, 7, 5}));
  const auto unigram = load(pieces + trainer(1) + normalizer("", false, false));
  EXPECT_EQ(unigram->encode("abX", false), (Ids{3, 6}));
}

TEST(SentencePiece, UnknownRunsAndByteFallback) {
  std::string bytes_of_two = piece("<0xC3>", 0, 6) + piece("<0xA9>", 0, 6);
  for (int kind : {1, 2}) {
    const std::string pieces = head() + piece("a", -1) + bytes_of_two;
    EXPECT_EQ(load(pieces + trainer(kind) + normalizer("", false, false))->encode("axyéa", false), (Ids{3, 0, 3}));
    const auto bytes = load(pieces + trainer(kind, number(35, 1)) + normalizer("", false, false));
    EXPECT_EQ(bytes->encode("aéa", false), (Ids{3, 4, 5, 3}));
    EXPECT_EQ(bytes->encode("aèa", false), (Ids{3, 0, 3}));  // one byte is missing
    EXPECT_EQ(bytes->decode(Ids{3, 4, 5, 3}), "aéa");
  }
}

TEST(SentencePiece, SpacesAreThinnedAndEscaped) {
  const std::string model = head() + trainer(2);
  EXPECT_EQ(normalized(model + normalizer("", true, true), "  a   b  "), "▁a▁b");
  EXPECT_EQ(normalized(model + normalizer("", true, false), " a  b "), "▁▁a▁▁b▁");
  EXPECT_EQ(normalized(model + normalizer("", false, true), " a"), "a");
  EXPECT_EQ(normalized(model + normalizer("", true, true, false), "a  b"), " a b");
  EXPECT_EQ(normalized(model + normalizer("", true, true), "   "), "");
  EXPECT_EQ(normalized(model + normalizer("", true, true), ""), "");
}

TEST(SentencePiece, CharsmapReplaces) {
  const std::string model = head() + trainer(2);
  EXPECT_EQ(normalized(model + normalizer(charsmap_of_x("yz"), false, false), "axbx"), "ayzbyz");
  EXPECT_EQ(normalized(model + normalizer(charsmap_of_x(" "), true, true), "xxaxx b"), "▁a▁b");
  EXPECT_EQ(normalized(model + normalizer(charsmap_of_x(""), false, false), "axb"), "ab");
  EXPECT_EQ(normalized(head() + piece("xx", 0, 4) + trainer(2) + normalizer(charsmap_of_x("y"), false, false), "xxx"),
            "xxy");
}

TEST(SentencePieceHostile, Charsmaps) {
  const auto map = [](const std::string& blob) { return tok::Charsmap(blob, "t"); };
  ESP_EXPECT_USER_ERROR(map("abc"), "truncated");
  ESP_EXPECT_USER_ERROR(map(std::string("\x05\0\0\0abcde", 9)), "a trie of 5 bytes");
  ESP_EXPECT_USER_ERROR(map(std::string("\xfc\xff\xff\xff", 4)), "a trie of 4294967292 bytes");
  ESP_EXPECT_USER_ERROR(map(std::string("\0\0\0\0\xff", 5)), "not UTF-8");
  EXPECT_EQ(map(std::string(4, '\0')).longest_prefix("x"), std::nullopt);
  // Values behind the end, and into the middle of a character.
  EXPECT_EQ(map(charsmap_of_x("y", 77)).longest_prefix("x"), std::nullopt);
  EXPECT_EQ(map(charsmap_of_x("é", 1)).longest_prefix("x"), std::nullopt);
  // Offsets that lead out of the array.
  for (uint32_t unit : {0xffffffffu, 0x7ffffc00u, 0x200u << 10 | 1 << 9}) {
    std::string blob = charsmap_of_x("y");
    std::memcpy(blob.data() + 4, &unit, 4);
    EXPECT_EQ(map(blob).longest_prefix("x"), std::nullopt);
    blob = charsmap_of_x("y");
    std::memcpy(blob.data() + 4 + 4 * (1 ^ 'x'), &unit, 4);
    EXPECT_EQ(map(blob).longest_prefix("x"), std::nullopt);
  }
}

TEST(SentencePieceHostile, Files) {
  const std::string good = head() + piece("a", -1) + trainer(1);
  EXPECT_NO_THROW(load(good));
  ESP_EXPECT_USER_ERROR(load(""), "no pieces");
  ESP_EXPECT_USER_ERROR(load("{}"), "test.model");
  for (size_t cut = 1; cut < good.size(); ++cut) {
    try {
      load(good.substr(0, cut));
    } catch (const UserError&) {
    }
  }
  ESP_EXPECT_USER_ERROR(load(good + varint(1 << 3 | 2) + varint(1u << 30)), "truncated");
  ESP_EXPECT_USER_ERROR(load(good + varint(1 << 3 | 2) + varint(UINT64_MAX)), "truncated");
  ESP_EXPECT_USER_ERROR(load(good + std::string(11, '\xff')), "more than ten bytes");
  ESP_EXPECT_USER_ERROR(load(good + number(1, 5)), "expected wire type 2, found 0");
  ESP_EXPECT_USER_ERROR(load(good + varint(9 << 3 | 3)), "wire type 3");
  ESP_EXPECT_USER_ERROR(load(good + piece("a", -1)), "token 'a' stands twice");
  ESP_EXPECT_USER_ERROR(load(good + piece("", -1)), "not empty");
  ESP_EXPECT_USER_ERROR(load(good + piece("\xff", -1)), "UTF-8");
  ESP_EXPECT_USER_ERROR(load(good + piece("b", 0, 7)), "type: expected 1 to 6, found 7");
  for (float score : {NAN, INFINITY, -INFINITY})
    ESP_EXPECT_USER_ERROR(load(good + piece("b", score)), "a finite number");
  ESP_EXPECT_USER_ERROR(load(good + trainer(3)), "1 (Unigram) or 2 (BPE), found 3");
  ESP_EXPECT_USER_ERROR(load(good + trainer(1, number(24, 1))), "treat_whitespace_as_suffix");
  ESP_EXPECT_USER_ERROR(load(good + trainer(1, number(41, 4))), "bos_id");
  ESP_EXPECT_USER_ERROR(load(good + trainer(1, number(42, 1LL << 40))), "eos_id");
  ESP_EXPECT_USER_ERROR(load(good + trainer(1, number(40, 1))), "unk_id");
  ESP_EXPECT_USER_ERROR(load(good + trainer(1, number(40, -1))), "unk_id");
  ESP_EXPECT_USER_ERROR(load(good + piece(std::string(100'000, 'a'), -1)), "100000 bytes");
}

// Every prefix of the longest piece is a piece: the cuts into two pieces grow with the square of the length.
TEST(SentencePieceHostile, TooManyWaysToJoin) {
  std::string model = head();
  for (size_t length = 1; length <= 3000; ++length)
    model += piece(std::string(length, 'a'), -static_cast<float>(length));
  ESP_EXPECT_USER_ERROR(load(model + trainer(2)), "ways to join");
}

TEST(SentencePiece, NoBosWhereThereIsNone) {
  const auto tokenizer = load(head() + piece("▁a", -1) + trainer(1, number(41, -1)));
  EXPECT_EQ(tokenizer->encode("a"), (Ids{3}));
  EXPECT_EQ(tokenizer->bos_id(), std::nullopt);
}

}  // namespace
}  // namespace espalier::test
