// Tokenizer files under a few thousand damages: they load and work, or are refused.
#include <gtest/gtest.h>

#include "tests/fuzz/runner.h"
#include "tests/fuzz/targets.h"
#include "tests/io/sentencepiece_bytes.h"

namespace espalier::fuzz {
namespace {

const std::string kByteLevel =
    R"json({"added_tokens": [{"id": 4, "content": "<s>", "special": true, "lstrip": true}, {"id": 5, "content": "Hello", "normalized": true}],
 "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Replace", "pattern": {"Regex": "\\s{2,}"}, "content": " "}]},
 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\p{L}+|[^\\s\\p{L}]+(?!\\S)"}, "behavior": "MergedWithNext", "invert": false},
   {"type": "ByteLevel", "add_prefix_space": true, "use_regex": false}]},
 "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "S"}}, {"Sequence": {"id": "A"}}], "special_tokens": {"S": {"ids": [4]}}},
 "decoder": {"type": "ByteLevel"},
 "model": {"type": "BPE", "ignore_merges": true, "vocab": {"a": 0, "l": 1, "ll": 2, "llo": 3, "o": 9}, "merges": ["l l", ["ll", "o"]]}})json";

const std::string kUnigram =
    R"json({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "Precompiled", "precompiled_charsmap": "DAAAAAAEAAAAAAAAAAAAAAA="}, {"type": "Strip"}]},
 "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": true},
 "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
 "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab": [["<unk>", 0], ["\u2581", -2.5], ["a", -1], ["aaa", -1.5], ["<0xE4>", -9], ["lo", -3]]}})json";

const std::string kWordPiece =
    R"json({"normalizer": {"type": "BertNormalizer", "lowercase": true}, "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece"},
 "post_processor": {"type": "BertProcessing", "sep": ["c", 3], "cls": ["b", 2]}, "model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "hell": 1, "b": 2, "c": 3, "##o": 4}}})json";

TEST(TokenizerFuzz, Json) { fuzz(fuzz_tokenizer_json, {kByteLevel, kUnigram, kWordPiece}, 60'000); }

TEST(TokenizerFuzz, SentencePiece) {
  using namespace test::spm;
  const std::string map("\x0c\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0y\0", 18);
  const std::string pieces =
      head() + piece("a", -1) + piece("aa", -2) + piece("\u2581", -3) + piece("<0xE4>", 0, 6) + piece("lo", -4, 4);
  fuzz(fuzz_tokenizer_sentencepiece,
       {pieces + trainer(1) + normalizer(map, true, true),
        pieces + trainer(2, number(35, 1)) + normalizer("", true, false)},
       60'000);
}

}  // namespace
}  // namespace espalier::fuzz
