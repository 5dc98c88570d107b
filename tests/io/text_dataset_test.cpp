#include "espalier/io/text_dataset.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/core/rng.h"
#include "tests/io/tokenizer_json.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

// One token a byte of ASCII, with marks around a document.
std::shared_ptr<const Tokenizer> letters() {
  std::string vocab = R"({"<s>": 200, "</s>": 201)";
  for (int c = 32; c < 127; ++c) vocab += fmt::format(", {}: {}", Json(std::string(1, static_cast<char>(c))).dump(), c);
  vocab += R"(, "\n": 10, "\r": 13, "\u0000": 0})";
  return tokenizer_of(bpe_json(vocab, "[]"),
                      R"("post_processor": {"type": "BertProcessing", "cls": ["<s>", 200], "sep": ["</s>", 201]})");
}

std::vector<std::string> units(const std::filesystem::path& path, TextUnit unit, size_t max_bytes = 1 << 20) {
  UnitReader reader(path, unit, max_bytes);
  std::vector<std::string> all;
  for (std::string text; reader.next(text);) all.push_back(text);
  EXPECT_FALSE([&] {
    std::string more;
    return reader.next(more);
  }());  // the end stays the end
  return all;
}

std::vector<std::string> documents(const std::filesystem::path& path, size_t chunk_bytes) {
  TextReader reader(path, chunk_bytes);
  std::vector<std::string> all;
  for (TextReader::Chunk chunk; reader.next(chunk);) {
    EXPECT_LE(chunk.text.size(), chunk_bytes);
    EXPECT_TRUE(is_valid_utf8(chunk.text));
    if (chunk.starts_document) all.emplace_back();
    all.back() += chunk.text;
  }
  return all;
}

Ids all_ids(const std::filesystem::path& path, const std::shared_ptr<const Tokenizer>& tokenizer, size_t chunk_bytes) {
  TokenStream stream(path, tokenizer, true, chunk_bytes);
  Ids ids;
  while (stream.next(ids)) {
  }
  return ids;
}

TEST(TextDataset, WindowsOverConcatenatedDocuments) {
  TempDir dir;
  write_file_atomically(dir / "b.txt", "def");
  write_file_atomically(dir / "a.txt", "abc");
  write_file_atomically(dir / "empty.txt", "");
  write_file_atomically(dir / "ignored.md", "zzz");
  const auto windows = token_windows(dir.path(), letters(), {.window = 4});
  EXPECT_EQ(windows, (std::vector<Ids>{{200, 'a', 'b', 'c'}, {201, 200, 'd', 'e'}}));  // "f </s>" fills none
  EXPECT_EQ(token_windows(dir.path(), letters(), {.window = 3, .max_windows = 1, .add_special_tokens = false}),
            (std::vector<Ids>{{'a', 'b', 'c'}}));
  EXPECT_EQ(token_windows(dir.path(), letters(), {.window = 4, .stride = 2, .add_special_tokens = false}),
            (std::vector<Ids>{{'a', 'b', 'c', 'd'}, {'c', 'd', 'e', 'f'}}));
  ESP_EXPECT_USER_ERROR(token_windows(dir.path(), letters(), {.window = 100}),
                        "expected at least 100 tokens, one window, found 10");
  ESP_EXPECT_USER_ERROR(token_windows(dir.path(), letters(), {.window = 0}), "window");
  ESP_EXPECT_USER_ERROR(token_windows(dir.path(), letters(), {.window = 4, .stride = 5}), "stride");
}

TEST(TextDataset, JsonLines) {
  TempDir dir;
  write_file_atomically(dir / "d.jsonl",
                        "\xef\xbb\xbf{\"text\": \"ab\", \"id\": 1}\r\n\n{\"text\": \"\"}\n{\"text\": \"c\\n\\nd\"}");
  EXPECT_EQ(documents(dir / "d.jsonl", 1 << 20), (std::vector<std::string>{"ab", "c\n\nd"}));
  EXPECT_EQ(units(dir / "d.jsonl", TextUnit::kDocument), (std::vector<std::string>{"ab", "c\n\nd"}));
  EXPECT_EQ(units(dir / "d.jsonl", TextUnit::kParagraph), (std::vector<std::string>{"ab", "c", "d"}));
  write_file_atomically(dir / "bad.jsonl", "{\"text\": \"a\"}\n{\"txt\": 1}\n");
  ESP_EXPECT_USER_ERROR(documents(dir / "bad.jsonl", 64), "bad.jsonl: line 2: the field 'text' is missing");
  write_file_atomically(dir / "bad.jsonl", "[1]\n");
  ESP_EXPECT_USER_ERROR(documents(dir / "bad.jsonl", 64), "line 1");
  write_file_atomically(dir / "bad.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\xff\"}\n");
  ESP_EXPECT_USER_ERROR(documents(dir / "bad.jsonl", 64), "bad.jsonl: not valid UTF-8 at byte 25");
}

TEST(TextDataset, LinesAndParagraphs) {
  TempDir dir;
  write_file_atomically(dir / "t.txt", "\n  \none\ntwo\r\n\t\n\nthree \n\n\n");
  EXPECT_EQ(units(dir / "t.txt", TextUnit::kLine), (std::vector<std::string>{"one", "two", "three "}));
  EXPECT_EQ(units(dir / "t.txt", TextUnit::kParagraph), (std::vector<std::string>{"one\ntwo", "three "}));
  EXPECT_EQ(units(dir / "t.txt", TextUnit::kDocument).size(), 1u);
  EXPECT_EQ(units(dir / "t.txt", TextUnit::kParagraph, 5), (std::vector<std::string>{"one\nt", "three"}));
  write_file_atomically(dir / "t.txt", "äöü\näöü");
  EXPECT_EQ(units(dir / "t.txt", TextUnit::kLine, 5), (std::vector<std::string>{"äö", "äö"}));
  write_file_atomically(dir / "u.txt", "next file");
  EXPECT_EQ(units(dir.path(), TextUnit::kParagraph), (std::vector<std::string>{"äöü\näöü", "next file"}));
}

TEST(TextDataset, Prompts) {
  TempDir dir;
  write_file_atomically(dir / "t.txt", "one\ntwo\n\nthree\n\nfour");
  EXPECT_EQ(token_prompts(dir / "t.txt", *letters(), {.max_prompts = 2, .max_tokens = 4}),
            (std::vector<Ids>{{200, 'o', 'n', 'e'}, {200, 't', 'h', 'r'}}));
  EXPECT_EQ(token_prompts(dir / "t.txt", *letters(), {.unit = TextUnit::kLine, .add_special_tokens = false}).size(),
            4u);
  write_file_atomically(dir / "t.txt", " \n \n");
  ESP_EXPECT_USER_ERROR(token_prompts(dir / "t.txt", *letters(), {}), "no text but white space");
  ESP_EXPECT_USER_ERROR(token_prompts(dir / "t.txt", *letters(), {.max_tokens = 0}), "at least one");
}

TEST(TextDataset, HashOfFileAndOfDirectory) {
  TempDir dir;
  write_file_atomically(dir / "a.txt", "abc");
  const std::string abc =
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";  // FIPS 180-2, appendix B.1
  EXPECT_EQ(text_sha256(dir / "a.txt"), abc);
  EXPECT_EQ(text_sha256(dir.path()), sha256_of(abc + "  a.txt\n"));
  const std::string before = text_sha256(dir.path());
  std::filesystem::rename(dir / "a.txt", dir / "b.txt");
  EXPECT_NE(text_sha256(dir.path()), before);
}

TEST(TextDataset, MissingText) {
  TempDir dir;
  ESP_EXPECT_USER_ERROR(text_files(dir / "absent"), "absent: no such file");
  ESP_EXPECT_USER_ERROR(text_files(dir.path()), "no .txt and no .jsonl");
}

TEST(TextDatasetHostile, NulBytesAndCrLfStay) {
  TempDir dir;
  const std::string text("a\0b\r\nc", 6);
  write_file_atomically(dir / "t.txt", text);
  EXPECT_EQ(documents(dir / "t.txt", 1024), std::vector<std::string>{text});
  EXPECT_EQ(token_windows(dir / "t.txt", letters(), {.window = 6, .add_special_tokens = false}),
            (std::vector<Ids>{{'a', 0, 'b', '\r', '\n', 'c'}}));
  EXPECT_EQ(units(dir / "t.txt", TextUnit::kLine), (std::vector<std::string>{std::string("a\0b", 3), "c"}));
}

TEST(TextDatasetHostile, AByteOrderMarkIsNotText) {
  TempDir dir;
  write_file_atomically(dir / "t.txt",
                        "\xef\xbb\xbf"
                        "abc\xef\xbb\xbf");
  EXPECT_EQ(documents(dir / "t.txt", 1024), std::vector<std::string>{"abc\xef\xbb\xbf"});
  write_file_atomically(dir / "t.txt", "\xef\xbb\xbf");
  EXPECT_TRUE(documents(dir / "t.txt", 1024).empty());
}

TEST(TextDatasetHostile, InvalidUtf8IsNamedByItsByte) {
  TempDir dir;
  for (size_t place : {0u, 5u, 31u, 32u, 63u, 100u, 996u}) {
    for (const std::string bad : {"\x80", "\xff", "\xc0\xaf", "\xed\xa0\x80", "\xe4\xbd"}) {
      std::string text(1000, 'x');
      text.replace(place, bad.size(), bad);
      write_file_atomically(dir / "t.txt", text);
      ESP_EXPECT_USER_ERROR(documents(dir / "t.txt", 32), fmt::format("t.txt: not valid UTF-8 at byte {}", place));
      write_file_atomically(dir / "t.txt", "\xef\xbb\xbf" + text);
      ESP_EXPECT_USER_ERROR(documents(dir / "t.txt", 4096),
                            fmt::format("t.txt: not valid UTF-8 at byte {}", place + 3));
    }
  }
  write_file_atomically(dir / "t.txt", std::string(64, 'x') + "\xe4\xbd");  // cut off at the end of the file
  ESP_EXPECT_USER_ERROR(documents(dir / "t.txt", 32), "at byte 64");
}

TEST(TextDataset, ChunksJoinToTheWholeText) {
  TempDir dir;
  Rng rng(5, "chunks");
  const std::string parts[] = {"a", "b", " ", "\n", "\r\n", "é", "你", "👍", ".", "1"};
  for (int round = 0; round < 40; ++round) {
    std::string text;
    while (text.size() < 300) text += parts[rng.below(std::size(parts))];
    write_file_atomically(dir / "t.txt", text);
    write_file_atomically(dir / "t.jsonl", Json{{"text", text}}.dump() + "\n");
    for (size_t chunk : {16u, 17u, 50u, 299u, 1000u}) {
      EXPECT_EQ(documents(dir / "t.txt", chunk), std::vector<std::string>{text}) << chunk;
      EXPECT_EQ(documents(dir / "t.jsonl", chunk), std::vector<std::string>{text}) << chunk;
    }
  }
}

TEST(TextDataset, CutsWhereNoTokenSpans) {
  const auto cut = [](std::string_view text) { return std::string(text.substr(0, text_cut(text))); };
  EXPECT_EQ(cut("aaaa bbb cc dd"), "aaaa bbb cc");
  EXPECT_EQ(cut("aaaa bbb cc d. 1"), "aaaa bbb cc");  // letters on both sides before other signs
  EXPECT_EQ(cut("aaaa bbb\ncc 1 2"), "aaaa bbb");
  EXPECT_EQ(cut("111111 1 2.\n3"), "111111 1");
  EXPECT_EQ(cut("11111111 .\n3"), "11111111");
  EXPECT_EQ(cut("1111111111.\n3"), "1111111111.\n");
  EXPECT_EQ(cut("aaaaaaaaaaaa"), "aaaaaaaaaaaa");
  EXPECT_EQ(cut("a bbbbbbbbbbb"), "a bbbbbbbbbbb");  // nothing in the second half
  EXPECT_EQ(cut("aaaaaa  b\n\nc "), "aaaaaa  b\n\nc ");
  EXPECT_EQ(text_cut("x"), 1u);
}

// Chunks give the ids of the whole document for every kind of tokenizer.
TEST(TextDataset, ChunkedIdsAreTheWholeIds) {
  const std::filesystem::path fixtures = std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data/tokenizers";
  TempDir dir;
  std::string text;
  for (int i = 0; i < 60; ++i)
    text += "The quick brown fox, aged 12, jumps over\n\nthe lazy dog's \"back\".\n  Then (naïvely) it rained; ";
  write_file_atomically(dir / "t.txt", text);
  for (const char* file :
       {"byte_level.json", "unigram.json", "wordpiece.json", "suffix.json", "spm_bpe.model", "spm_unigram.model"}) {
    const auto tokenizer = Tokenizer::load(fixtures / file);
    const Ids whole = tokenizer->encode(text);
    for (size_t chunk : {60u, 99u, 500u, 4000u, 1u << 20})
      EXPECT_EQ(all_ids(dir / "t.txt", tokenizer, chunk), whole) << file << " " << chunk;
  }
}

// A single line of 300 MB in bounded memory.
TEST(TextDatasetHostile, OneVeryLongLine) {
  TempDir dir;
  {
    AtomicFile file(dir / "t.txt");
    const std::string block(1 << 20, 'a');
    for (int i = 0; i < 300; ++i) file.write(block);
    file.commit();
  }
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  TextReader reader(dir / "t.txt");
  uint64_t bytes = 0;
  for (TextReader::Chunk chunk; reader.next(chunk);) bytes += chunk.text.size();
  EXPECT_EQ(bytes, uint64_t{300} << 20);
  const auto lines = units(dir / "t.txt", TextUnit::kLine, 1000);
  EXPECT_EQ(lines, std::vector<std::string>{std::string(1000, 'a')});
  EXPECT_EQ(token_windows(dir / "t.txt", letters(), {.window = 1000, .max_windows = 3}).size(), 3u);
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 250 << 10);  // KiB; a chunk of 4 MiB costs up to 40 bytes a byte
}

}  // namespace
}  // namespace espalier::test
