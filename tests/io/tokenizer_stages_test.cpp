// Every normalizer, pre-tokenizer and decoder alone. The expected texts were made with the library "tokenizers" 0.23.
#include <gtest/gtest.h>

#include "espalier/io/tokenizers/charsmap.h"
#include "espalier/io/tokenizers/decoder.h"
#include "espalier/io/tokenizers/normalizer.h"
#include "espalier/io/tokenizers/pre_tokenizer.h"
#include "espalier/io/tokenizers/unicode.h"
#include "tests/support.h"

namespace espalier::tok {
namespace {

std::string normalized(const std::string& spec, std::string_view text, Left left = Left::kTextStart) {
  return make_normalizer(Json::parse(spec), "test")->normalize(text, left);
}

std::vector<std::string> pieces(const std::string& spec, std::string_view text, Left left = Left::kTextStart) {
  struct : PieceSink {
    void take(Piece piece) override { texts.emplace_back(piece.text); }
    std::vector<std::string> texts;
  } sink;
  make_pre_tokenizer(Json::parse(spec), "test")->split({text, left}, sink);
  return sink.texts;
}

TEST(TokenizerStages, Normalizers) {
  struct Case {
    std::string spec, text, expected;
  };
  const Case cases[] = {
      {R"j({"type": "NFC"})j", "e\u0301 ﬁ Å", "é ﬁ Å"},
      {R"j({"type": "NFD"})j", "é ﬁ", "e\u0301 ﬁ"},
      {R"j({"type": "NFKC"})j", "ﬁ ① ㍿ e\u0301", "fi 1 株式会社 é"},
      {R"j({"type": "NFKD"})j", "Åﬁ½", "A\u030afi1⁄2"},
      {R"j({"type": "Lowercase"})j", "İSTANBUL ÀÉ ẞ Σ", "i\u0307stanbul àé ß σ"},
      {R"j({"type": "StripAccents"})j", "e\u0301a\u030a é", "ea é"},
      {R"j({"type": "Strip", "strip_left": true, "strip_right": true})j", "\u3000\t a b \n", "a b"},
      {R"j({"type": "Strip", "strip_left": true, "strip_right": false})j", " a ", "a "},
      {R"j({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true})j",
       "\tHÉllo\u200b \001世界\ufeff", " hello  世  界 "},
      {R"j({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": false})j",
       "É\u00a0x", "É x"},
      {R"j({"type": "BertNormalizer", "clean_text": false, "handle_chinese_chars": false, "strip_accents": true, "lowercase": false})j",
       "É\t世", "E\t世"},
      {R"j({"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": "_"})j", "a \n b\u180ec", "a_b\u180ec"},
      {R"j({"type": "Replace", "pattern": {"String": "."}, "content": "!"})j", "a.b", "a!b"},
      {R"j({"type": "Replace", "pattern": {"String": ""}, "content": "-"})j", "ab", "-a-b-"},
      {R"j({"type": "Prepend", "prepend": "▁"})j", "a", "▁a"},
      {R"j({"type": "Prepend", "prepend": "▁"})j", "", ""},
      {R"j({"type": "Nmt"})j", "a\001\177b\u200bc\ufeffd\n", "ab c d "},
      {R"j({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]})j",
       "ÀÉ", "ae"},
      {R"j({"type": "ByteLevel"})j", " é\n", "ĠÃ©Ċ"},
  };
  for (const auto& [spec, text, expected] : cases)
    EXPECT_EQ(normalized(spec, text), expected) << spec << " of " << text;
}

TEST(TokenizerStages, PreTokenizers) {
  struct Case {
    std::string spec, text;
    std::vector<std::string> expected;
  };
  const Case cases[] = {
      {R"j({"type": "Whitespace"})j",
       "it's a_b  c-d\u00a0e\u0301!",
       {"it", "'", "s", "a_b", "c", "-", "d", "e\u0301", "!"}},
      {R"j({"type": "WhitespaceSplit"})j", " a  b\u3000c ", {"a", "b", "c"}},
      {R"j({"type": "BertPreTokenizer"})j",
       "Hey, you!  $5.00—ok",
       {"Hey", ",", "you", "!", "$", "5", ".", "00", "—", "ok"}},
      {R"j({"type": "Punctuation", "behavior": "Isolated"})j", "a,,b", {"a", ",", ",", "b"}},
      {R"j({"type": "Punctuation", "behavior": "Contiguous"})j", "a,,b", {"a", ",,", "b"}},
      {R"j({"type": "Punctuation", "behavior": "Removed"})j", "a,,b", {"a", "b"}},
      {R"j({"type": "Digits", "individual_digits": false})j", "a12b½3", {"a", "12", "b", "½3"}},
      {R"j({"type": "Digits", "individual_digits": true})j", "a12b", {"a", "1", "2", "b"}},
      {R"j({"type": "CharDelimiterSplit", "delimiter": "x"})j", "axxbx", {"a", "b"}},
      {R"j({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})j",
       " a  b",
       {"▁a", "▁", "▁b"}},
      {R"j({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})j",
       "a b",
       {"▁a", "▁b"}},
      {R"j({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true})j", "a b", {"a", "▁b"}},
      {R"j({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false})j",
       "a b c",
       {"▁a▁b▁c"}},
      {R"j({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": true})j",
       "a_b c",
       {"_a", "_b", "_c"}},
      {R"j({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true})j",
       "Hello  wörld's 12\n\nx",
       {"ĠHello", "Ġ", "ĠwÃ¶rld", "'s", "Ġ12", "Ċ", "Ċ", "x"}},
      {R"j({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})j",
       "don't 'S",
       {"don", "'t", "Ġ'", "S"}},
      {R"j({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})j", " a b", {"ĠaĠb"}},
      {R"j({"type": "Split", "pattern": {"String": "-"}, "behavior": "Removed", "invert": false})j",
       "-a--b-",
       {"a", "b"}},
      {R"j({"type": "Split", "pattern": {"String": "-"}, "behavior": "Removed", "invert": true})j",
       "-a--b-",
       {"-", "-", "-", "-"}},
      {R"j({"type": "Split", "pattern": {"String": "-"}, "behavior": "Isolated", "invert": false})j",
       "-a--b-",
       {"-", "a", "-", "-", "b", "-"}},
      {R"j({"type": "Split", "pattern": {"String": "-"}, "behavior": "Isolated", "invert": true})j",
       "-a--b-",
       {"-", "a", "-", "-", "b", "-"}},
      {R"j({"type": "Split", "pattern": {"String": "-"}, "behavior": "MergedWithPrevious", "invert": false})j",
       "-a--b-",
       {"-", "a-", "-", "b-"}},
      {R"j({"type": "Split", "pattern": {"String": "-"}, "behavior": "MergedWithPrevious", "invert": true})j",
       "-a--b-",
       {"-a", "-", "-b", "-"}},
      {R"j({"type": "Split", "pattern": {"String": "-"}, "behavior": "MergedWithNext", "invert": false})j",
       "-a--b-",
       {"-a", "-", "-b", "-"}},
      {R"j({"type": "Split", "pattern": {"String": "-"}, "behavior": "MergedWithNext", "invert": true})j",
       "-a--b-",
       {"-", "a-", "-", "b-"}},
      {R"j({"type": "Split", "pattern": {"String": "-"}, "behavior": "Contiguous", "invert": false})j",
       "-a--b-",
       {"-", "a", "--", "b", "-"}},
      {R"j({"type": "Split", "pattern": {"String": "-"}, "behavior": "Contiguous", "invert": true})j",
       "-a--b-",
       {"-", "a", "--", "b", "-"}},
      {R"j({"type": "Split", "pattern": {"Regex": "o*"}, "behavior": "Isolated", "invert": false})j",
       "fooo bo",
       {"f", "ooo", " ", "b", "o"}},
      {R"j({"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Isolated", "invert": false})j",
       "नमस्ते_x y",
       {"नमस्ते_x", " ", "y"}},
      {R"j({"type": "Split", "pattern": {"Regex": "[^(\\s|[.,])]+"}, "behavior": "Isolated", "invert": false})j",
       "(ab).c|d",
       {"(", "ab", ").", "c", "|", "d"}},
      {R"j({"type": "Split", "pattern": {"Regex": "\\d{1,2}+"}, "behavior": "Isolated", "invert": false})j",
       "a12345b",
       {"a", "12345", "b"}},
      {R"j({"type": "Split", "pattern": {"Regex": "^a|b$"}, "behavior": "Isolated", "invert": false})j",
       "ab\nab",
       {"a", "b", "\n", "a", "b"}},
      {R"j({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": true}, {"type": "Punctuation", "behavior": "Isolated"}]})j",
       "ab12 c.d",
       {"ab", "1", "2", "c", ".", "d"}},
  };
  for (const auto& [spec, text, expected] : cases) EXPECT_EQ(pieces(spec, text), expected) << spec << " of " << text;
}

TEST(TokenizerStages, Decoders) {
  struct Case {
    std::string spec;
    Tokens tokens;
    std::string expected;
  };
  const Case cases[] = {
      {R"j({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true})j",
       {"Ġhel", "lo", "Ċ", "Ã", "©", "Ã", "é世"},
       " hello\né�é世"},
      {R"j({"type": "ByteFallback"})j",
       {"a", "<0xC3>", "<0xA9>", "<0xE4>", "<0xBD>", "b", "<0x0A>", "<0xZZ>"},
       "a����b\n<0xZZ>"},
      {R"j({"type": "Fuse"})j", {"a", "b"}, "ab"},
      {R"j({"type": "Replace", "pattern": {"String": "▁"}, "content": " "})j", {"▁a", "b▁"}, " ab "},
      {R"j({"type": "Replace", "pattern": {"Regex": "a+"}, "content": "x"})j", {"aab", "ca"}, "xbcx"},
      {R"j({"type": "Strip", "content": " ", "start": 1, "stop": 1})j", {"  a  ", "b"}, " a b"},
      {R"j({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})j",
       {"▁a", "▁b", "c▁"},
       "a bc "},
      {R"j({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true})j", {"▁a", "b"}, " ab"},
      {R"j({"type": "WordPiece", "prefix": "##", "cleanup": true})j",
       {"do", "##n", "'", "t", "stop", ".", "n't"},
       "don ' t stop.n't"},
      {R"j({"type": "WordPiece", "prefix": "##", "cleanup": false})j", {"##a", "##b", ".", "c"}, "##ab . c"},
      {R"j({"type": "BPEDecoder", "suffix": "</w>"})j", {"he", "llo</w>", "you</w>"}, "hello you"},
      {R"j({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})j",
       {"▁Hi", "<0xE4>", "<0xBD>", "<0xA0>", "▁x"},
       "Hi你 x"},
  };
  for (const auto& [spec, tokens, expected] : cases) {
    Tokens list = tokens;
    make_decoder(Json::parse(spec), "test")->apply(list);
    std::string joined;
    for (const auto& token : list) joined += token;
    EXPECT_EQ(joined, expected) << spec;
  }
}

TEST(TokenizerStages, AContinuationIsNotTouchedAtItsLeftEnd) {
  EXPECT_EQ(normalized(R"({"type": "Prepend", "prepend": "_"})", "a", Left::kContinuation), "a");
  EXPECT_EQ(normalized(R"({"type": "Strip"})", " a ", Left::kContinuation), " a");
  EXPECT_EQ(pieces(R"({"type": "Metaspace"})", "a b", Left::kContinuation), (std::vector<std::string>{"a", "▁b"}));
  EXPECT_EQ(pieces(R"({"type": "ByteLevel"})", "a b", Left::kContinuation), (std::vector<std::string>{"a", "Ġb"}));
}

TEST(TokenizerStages, OnlyTheTextStartIsFirst) {
  const std::string spec = R"({"type": "Metaspace", "prepend_scheme": "first"})";
  EXPECT_EQ(pieces(spec, "a", Left::kTextStart), std::vector<std::string>{"▁a"});
  EXPECT_EQ(pieces(spec, "a", Left::kInside), std::vector<std::string>{"a"});
  // Behind a split, only the piece that begins the text counts.
  const std::string sequence = R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, )" + spec + "]}";
  EXPECT_EQ(pieces(sequence, "a b"), (std::vector<std::string>{"▁a", "b"}));
}

TEST(TokenizerStages, MetaspaceOfOldFiles) {
  EXPECT_EQ(pieces(R"({"type": "Metaspace", "add_prefix_space": false})", "a b"),
            (std::vector<std::string>{"a", "▁b"}));
  EXPECT_EQ(pieces(R"({"type": "Metaspace", "add_prefix_space": true})", "a b"),
            (std::vector<std::string>{"▁a", "▁b"}));
}

TEST(TokenizerStages, SpaceSymbolCutterKeepsRunsWithTheWordBehind) {
  struct : PieceSink {
    void take(Piece piece) override { texts.emplace_back(piece.text); }
    std::vector<std::string> texts;
  } sink;
  make_space_symbol_cutter()->split({"▁▁a▁b▁▁▁c▁", Left::kInside}, sink);
  EXPECT_EQ(sink.texts, (std::vector<std::string>{"▁▁a", "▁b", "▁▁▁c", "▁"}));
}

// The reference for chunks: normalising around an ASCII character is the same as normalising everything.
TEST(TokenizerStages, NormalFormsAreTheSameInPieces) {
  const std::string parts[] = {"a", "é", "e\u0301", "\u0301", "ﬁ", "각", "\u1100\u1161\u11a8", " ", "\u0323\u0307",
                               "q"};
  for (const auto& x : parts) {
    for (const auto& y : parts) {
      for (NormalForm form : {NormalForm::kNfc, NormalForm::kNfd, NormalForm::kNfkc, NormalForm::kNfkd}) {
        const std::string whole = normal_form(x + y, form);
        EXPECT_EQ(normal_form(whole, form), whole) << x << y;
        EXPECT_EQ(normal_form("z" + x + y + "z", form), normal_form("z" + x + y, form) + "z");
      }
    }
  }
}

TEST(TokenizerStages, LossyUtf8ReplacesMaximalParts) {
  // The example of the Unicode standard, table 3-11 (U+FFFD for maximal subparts).
  EXPECT_EQ(lossy_utf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a\ufffd\ufffd\ufffdb\ufffdc\ufffd\ufffdd");
  EXPECT_EQ(lossy_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"
            "A");
  EXPECT_EQ(lossy_utf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"),
            "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"
            "A");
  EXPECT_EQ(lossy_utf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            "\ufffd\ufffd\ufffd\ufffd\ufffd"
            "A\ufffd\ufffd"
            "B");
}

// RFC 4648, section 10.
TEST(TokenizerStages, Base64) {
  EXPECT_EQ(decode_base64("", "t"), "");
  EXPECT_EQ(decode_base64("Zg==", "t"), "f");
  EXPECT_EQ(decode_base64("Zm8=", "t"), "fo");
  EXPECT_EQ(decode_base64("Zm9vYmFy", "t"), "foobar");
  ESP_EXPECT_USER_ERROR(decode_base64("Zm9*", "t"), "not base64");
}

TEST(TokenizerStages, UnknownTypesAreNamedWithTheKnownOnes) {
  ESP_EXPECT_USER_ERROR(make_normalizer(Json::parse(R"({"type": "NFX"})"), "f"), "BertNormalizer");
  ESP_EXPECT_USER_ERROR(make_normalizer(Json::parse(R"({"type": "lowercase"})"), "f"), "did you mean 'Lowercase'?");
  ESP_EXPECT_USER_ERROR(make_pre_tokenizer(Json::parse(R"({"type": "UnicodeScripts"})"), "f"), "WhitespaceSplit");
  ESP_EXPECT_USER_ERROR(make_decoder(Json::parse(R"({"type": "CTC"})"), "f"), "ByteFallback");
  ESP_EXPECT_USER_ERROR(make_decoder(Json::parse("7"), "f"), "found 7");
  ESP_EXPECT_USER_ERROR(make_decoder(Json::parse("{}"), "f"), "'type' is missing");
  ESP_EXPECT_USER_ERROR(
      make_pre_tokenizer(Json::parse(R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "Keep"})"), "f"),
      "MergedWithNext");
  ESP_EXPECT_USER_ERROR(
      make_pre_tokenizer(Json::parse(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "X"}]})"),
                         "f"),
      "pretokenizers[1]");
}

}  // namespace
}  // namespace espalier::tok
