// Tokenizers as a whole: against ids of the libraries "tokenizers" and "sentencepiece" on carried fixtures, special
// tokens and the files beside, streams.
#include "espalier/io/tokenizer.h"

#include <gtest/gtest.h>

#include <thread>

#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "tests/io/tokenizer_json.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

std::filesystem::path fixtures() { return std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data/tokenizers"; }

class TokenizerFixture : public testing::TestWithParam<const char*> {};

// expected.json is written by tests/judge/tokenizers_judge.py --fixtures.
TEST_P(TokenizerFixture, GivesTheIdsOfTheLibraries) {
  const auto tokenizer = Tokenizer::load(fixtures() / GetParam());
  int cases = 0;
  for (const Json& item : read_json(fixtures() / "expected.json")) {
    if (item["file"] != GetParam()) continue;
    ++cases;
    const auto text = item["text"].get<std::string>();
    const Ids expected = item["ids"].get<Ids>();
    EXPECT_EQ(tokenizer->encode(text), expected) << text;
    if (item["decoded"].is_string()) {
      EXPECT_EQ(tokenizer->decode(expected), item["decoded"].get<std::string>()) << text;
    }
    StreamDecoder stream(tokenizer);
    std::string streamed;
    for (int32_t id : expected) {
      const std::string part = stream.push(id);
      EXPECT_TRUE(is_valid_utf8(part));
      streamed += part;
    }
    streamed += stream.finish();
    const bool has_replacement = text.find("\ufffd") != std::string::npos;
    EXPECT_TRUE(has_replacement || streamed == tokenizer->decode(expected)) << text << " streamed as " << streamed;
  }
  EXPECT_GT(cases, 40);
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerFixture,
                         testing::Values("byte_level.json", "unigram.json", "wordpiece.json", "suffix.json",
                                         "spm_bpe.model", "spm_unigram.model"));

TEST(Tokenizer, ByteLevelAndByteFallbackKeepEveryText) {
  const std::string texts[] = {"",
                               "plain",
                               "  two  spaces ",
                               "héllo\r\n\t",
                               "你好👍🏽",
                               std::string("nul\0nul", 7),
                               "\xef\xbb\xbf"
                               "bom"};
  for (const char* file : {"byte_level.json", "spm_bpe.model"}) {
    const auto tokenizer = Tokenizer::load(fixtures() / file);
    for (const auto& text : texts) EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << file;
  }
}

TEST(Tokenizer, SpecialTokensOnRequest) {
  const auto tokenizer = Tokenizer::load(fixtures() / "byte_level.json");
  Ids with = tokenizer->encode("a b"), without = tokenizer->encode("a b", false);
  EXPECT_EQ(tokenizer->special_prefix(), Ids{0});
  EXPECT_TRUE(tokenizer->special_suffix().empty());
  without.insert(without.begin(), 0);
  EXPECT_EQ(with, without);
  EXPECT_TRUE(tokenizer->is_special(0));
  EXPECT_FALSE(tokenizer->is_special(50));
  EXPECT_EQ(tokenizer->decode(with), "a b");
  EXPECT_EQ(tokenizer->decode(with, false), "<|begin|>a b");
  EXPECT_EQ(tokenizer->token_to_id("<|end|>"), 1);
  EXPECT_EQ(tokenizer->id_to_token(1), "<|end|>");
  EXPECT_EQ(tokenizer->id_to_token(100000), std::nullopt);
  EXPECT_EQ(tokenizer->vocab_size(), 600);
  EXPECT_EQ(tokenizer->encode("<|end|>", false), Ids{1});
}

TEST(Tokenizer, PostProcessors) {
  const std::string model = R"({"type": "WordLevel", "vocab": {"a": 0, "x": 1, "y": 2, "z": 3}, "unk_token": "a"})";
  const auto ids = [&](const std::string& post) {
    return tokenizer_of(model, R"("post_processor": )" + post)->encode("a");
  };
  EXPECT_EQ(ids("null"), (Ids{0}));
  EXPECT_EQ(ids(R"({"type": "ByteLevel"})"), (Ids{0}));
  EXPECT_EQ(ids(R"({"type": "BertProcessing", "sep": ["y", 2], "cls": ["x", 1]})"), (Ids{1, 0, 2}));
  EXPECT_EQ(
      ids(R"({"type": "RobertaProcessing", "sep": ["y", 2], "cls": ["x", 1], "trim_offsets": true, "add_prefix_space": true})"),
      (Ids{1, 0, 2}));
  const std::string inner =
      R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "X", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
    {"SpecialToken": {"id": "X", "type_id": 0}}], "pair": [], "special_tokens": {"X": {"id": "X", "ids": [2, 3], "tokens": ["y", "z"]}}})";
  EXPECT_EQ(ids(inner), (Ids{2, 3, 0, 2, 3}));
  EXPECT_EQ(ids(R"({"type": "Sequence", "processors": [)" + inner +
                R"(, {"type": "BertProcessing", "sep": ["y", 2], "cls": ["x", 1]}]})"),
            (Ids{1, 2, 3, 0, 2, 3, 2}));
  ESP_EXPECT_USER_ERROR(ids(R"({"type": "Post"})"), "TemplateProcessing");
}

TEST(Tokenizer, AddedTokens) {
  const std::string model = R"({"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"})";
  const auto token = [](int id, const std::string& content, const std::string& flags) {
    return fmt::format(R"({{"id": {}, "content": "{}"{}}})", id, content, flags);
  };
  const auto tokenizer = tokenizer_of(
      model, "\"normalizer\": {\"type\": \"Lowercase\"}, \"added_tokens\": [" +
                 token(1, "ab", R"(, "normalized": false)") + "," + token(2, "abc", R"(, "normalized": false)") + "," +
                 token(3, "word", R"(, "normalized": false, "single_word": true)") + "," +
                 token(4, "L", R"(, "normalized": false, "lstrip": true)") + "," +
                 token(5, "R", R"(, "normalized": false, "rstrip": true)") + "," +
                 token(6, "Hi", R"(, "normalized": true)") + "," + token(7, "S", R"(, "special": true)") + "]");
  EXPECT_EQ(tokenizer->encode("abcab"), (Ids{2, 1}));  // the longest that begins leftmost
  EXPECT_EQ(tokenizer->encode("ABC"), (Ids{0}));       // in the text as it stands
  EXPECT_EQ(tokenizer->encode("HI hi"), (Ids{6, 0, 6}));
  EXPECT_EQ(tokenizer->encode("word-word"), (Ids{3, 0, 3}));
  EXPECT_EQ(tokenizer->encode("words"), (Ids{0}));
  EXPECT_EQ(tokenizer->encode("x \t L R\n ab"), (Ids{0, 4, 0, 5, 1}));
  EXPECT_EQ(tokenizer->decode(Ids{7, 1}), "ab");
  EXPECT_EQ(tokenizer->vocab_size(), 8);
}

TEST(Tokenizer, FilesBesideGiveSpecialIds) {
  TempDir dir;
  write_file_atomically(dir / "tokenizer.json", read_file(fixtures() / "byte_level.json", 1 << 20));
  write_file_atomically(dir / "generation_config.json", R"({"bos_token_id": 7, "eos_token_id": [9, 1, 99999]})");
  auto tokenizer = Tokenizer::load(dir.path());
  EXPECT_EQ(tokenizer->bos_id(), 7);
  EXPECT_EQ(tokenizer->eos_id(), 9);
  EXPECT_EQ(tokenizer->stop_ids(), (Ids{9, 1}));  // 99999 is no token
  EXPECT_EQ(tokenizer->pad_id(), std::nullopt);
  // Names win over numbers; both forms of naming are read.
  write_file_atomically(dir / "tokenizer_config.json", R"({"bos_token": {"content": "<|begin|>"}, "pad_token": null})");
  write_file_atomically(dir / "special_tokens_map.json", R"({"eos_token": "<|end|>", "pad_token": "<|end|>"})");
  write_file_atomically(dir / "config.json", R"({"bos_token_id": null, "eos_token_id": 2})");
  tokenizer = Tokenizer::load(dir / "tokenizer.json");
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer->eos_id(), 1);
  EXPECT_EQ(tokenizer->pad_id(), 1);
  EXPECT_EQ(tokenizer->stop_ids(), (Ids{1, 9, 2}));
  EXPECT_EQ(tokenizer->files(),
            (std::vector{dir / "tokenizer.json", dir / "tokenizer_config.json", dir / "special_tokens_map.json"}));
  write_file_atomically(dir / "tokenizer_config.json", R"({"bos_token": 7})");
  ESP_EXPECT_USER_ERROR(Tokenizer::load(dir.path()), "bos_token");
}

TEST(Tokenizer, Gpt2Files) {
  TempDir dir;
  write_file_atomically(dir / "vocab.json", R"({"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4, "<|endoftext|>": 5})");
  ESP_EXPECT_USER_ERROR(Tokenizer::load(dir.path()), "no tokenizer");
  write_file_atomically(dir / "merges.txt", "#version: 0.2\na b\r\nĠ ab\n");
  const auto tokenizer = Tokenizer::load(dir.path());
  EXPECT_EQ(tokenizer->encode("ab ab a<|endoftext|>b"), (Ids{2, 4, 3, 0, 5, 1}));
  EXPECT_EQ(tokenizer->eos_id(), 5);
  EXPECT_EQ(Tokenizer::load(dir / "merges.txt")->encode("ab"), (Ids{2}));
  EXPECT_EQ(tokenizer->files(), (std::vector{dir / "vocab.json", dir / "merges.txt"}));
  // OPT is GPT-2 with a token in front; Qwen splits in another way, which these files do not say.
  write_file_atomically(dir / "tokenizer_config.json",
                        R"({"add_bos_token": true, "bos_token": "b", "tokenizer_class": "GPT2Tokenizer"})");
  EXPECT_EQ(Tokenizer::load(dir.path())->encode("a"), (Ids{1, 0}));
  write_file_atomically(dir / "tokenizer_config.json", R"({"tokenizer_class": "Qwen2Tokenizer"})");
  ESP_EXPECT_USER_ERROR(Tokenizer::load(dir.path()), "Qwen2Tokenizer");
  write_file_atomically(dir / "tokenizer_config.json", "{}");
  write_file_atomically(dir / "config.json", R"({"model_type": "roberta"})");
  ESP_EXPECT_USER_ERROR(Tokenizer::load(dir.path()), "roberta");
  write_file_atomically(dir / "config.json", "{}");
  write_file_atomically(dir / "merges.txt", "a b c\n");
  ESP_EXPECT_USER_ERROR(Tokenizer::load(dir.path()), "one space");
}

TEST(Tokenizer, BertFiles) {
  TempDir dir;
  write_file_atomically(dir / "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\n##s\n,\n");
  const auto tokenizer = Tokenizer::load(dir.path());
  EXPECT_EQ(tokenizer->encode("HELLOS, [SEP]x"), (Ids{2, 4, 5, 6, 3, 1, 3}));
  EXPECT_EQ(tokenizer->pad_id(), 0);
  EXPECT_EQ(tokenizer->unk_id(), 1);
  write_file_atomically(dir / "tokenizer_config.json", R"({"do_lower_case": false})");
  EXPECT_EQ(Tokenizer::load(dir / "vocab.txt")->encode("Hello hello"), (Ids{2, 1, 4, 3}));
  // Without a word on it, capitals in the vocabulary say that case counts.
  write_file_atomically(dir / "tokenizer_config.json", "{}");
  write_file_atomically(dir / "vocab.txt", "[UNK]\n[CLS]\n[SEP]\nHello\n");
  EXPECT_EQ(Tokenizer::load(dir.path())->encode("Hello hello"), (Ids{1, 3, 0, 2}));
  write_file_atomically(dir / "vocab.txt", "a\nb\n");
  ESP_EXPECT_USER_ERROR(Tokenizer::load(dir.path()), "no token [CLS]");
}

TEST(Tokenizer, AddedTokensJsonExtendsOldFormats) {
  TempDir dir;
  write_file_atomically(dir / "tokenizer.model", read_file(fixtures() / "spm_bpe.model", 1 << 20));
  write_file_atomically(dir / "added_tokens.json", R"({"<extra>": 700})");
  write_file_atomically(dir / "tokenizer_config.json", R"({"add_bos_token": false, "add_eos_token": true})");
  const auto tokenizer = Tokenizer::load(dir.path());
  const Ids ids = tokenizer->encode("<extra>");
  EXPECT_EQ(ids, (Ids{700, tokenizer->eos_id().value()}));
  EXPECT_EQ(tokenizer->vocab_size(), 701);
}

TEST(Tokenizer, LoadErrorsNameTheFile) {
  TempDir dir;
  ESP_EXPECT_USER_ERROR(Tokenizer::load(dir / "absent"), "absent");
  ESP_EXPECT_USER_ERROR(Tokenizer::load(dir.path()), "expected tokenizer.json");
  write_file_atomically(dir / "weights.bin", "x");
  ESP_EXPECT_USER_ERROR(Tokenizer::load(dir / "weights.bin"), ".model");
  write_file_atomically(dir / "tokenizer.json", "{}");
  ESP_EXPECT_USER_ERROR(Tokenizer::load(dir.path()), "tokenizer.json: the field 'model'");
}

TEST(Tokenizer, InvalidTextIsRefusedWithItsPlace) {
  const auto tokenizer = Tokenizer::load(fixtures() / "byte_level.json");
  for (const char* bad : {"abc\x80", "abc\xc0\xaf", "abc\xed\xa0\x80", "abc\xf4\x90\x80\x80", "abc\xe4\xbd"}) {
    ESP_EXPECT_USER_ERROR(tokenizer->encode(bad), "not valid UTF-8 at byte 3");
    ESP_EXPECT_USER_ERROR(tokenizer->encode_continuation(bad), "not valid UTF-8 at byte 3");
  }
}

TEST(Tokenizer, OneObjectServesManyThreads) {
  const auto tokenizer = Tokenizer::load(fixtures() / "byte_level.json");
  const std::string text = "The quick brown fox, 1998: naïve café.\n";
  const Ids expected = tokenizer->encode(text);
  std::vector<std::thread> threads;
  std::vector<int> bad(4, 0);
  for (size_t t = 0; t < bad.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i)
        bad[t] += tokenizer->encode(text) != expected || tokenizer->decode(expected) != text;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(bad, std::vector<int>(4, 0));
}

TEST(StreamDecoder, GivesWholeCharacters) {
  const auto tokenizer = Tokenizer::load(fixtures() / "byte_level.json");
  const Ids ids = tokenizer->encode("a👍b", false);  // the emoji is four byte tokens
  ASSERT_EQ(ids.size(), 6u);
  StreamDecoder stream(tokenizer);
  std::vector<std::string> parts;
  for (int32_t id : ids) parts.push_back(stream.push(id));
  EXPECT_EQ(parts, (std::vector<std::string>{"a", "", "", "", "👍", "b"}));
  EXPECT_EQ(stream.finish(), "");
  // An unfinished character at the end, and the next stream starts anew.
  stream.push(ids[1]);
  EXPECT_EQ(stream.finish(), "\ufffd");
  EXPECT_EQ(stream.push(ids[0]), "a");
}

TEST(StreamDecoder, BytesThatAreNoTextDoNotStopTheStream) {
  for (const char* file : {"byte_level.json", "spm_bpe.model"}) {
    const auto tokenizer = Tokenizer::load(fixtures() / file);
    const int32_t stray = tokenizer->token_to_id(std::string_view(file).ends_with("json") ? "¡" : "<0xA1>").value();
    StreamDecoder stream(tokenizer);
    std::string all;
    for (int i = 0; i < 20; ++i) {
      const std::string part = stream.push(stray);
      EXPECT_TRUE(is_valid_utf8(part));
      all += part;
    }
    EXPECT_GE(all.size(), 3u * 10) << file;
    for (int32_t id : tokenizer->encode("word", false)) all += stream.push(id);
    EXPECT_TRUE((all + stream.finish()).ends_with("word")) << file;
  }
}

TEST(StreamDecoder, SpacesBetweenWordsStayAndTheFirstGoes) {
  const auto tokenizer = Tokenizer::load(fixtures() / "spm_bpe.model");
  const int32_t bos = tokenizer->bos_id().value(), eos = tokenizer->eos_id().value();
  Ids ids = tokenizer->encode("one two");
  ids.insert(ids.begin() + 3, eos);  // a special token in between shows nothing and changes nothing
  StreamDecoder stream(tokenizer);
  std::string all;
  for (int32_t id : ids) all += stream.push(id);
  EXPECT_EQ(all + stream.finish(), "one two");
  EXPECT_EQ(stream.push(bos), "");
}

}  // namespace
}  // namespace espalier::test
