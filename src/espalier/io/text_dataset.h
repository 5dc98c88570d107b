// Text of any size as token windows, prompts or lines, in bounded memory. A path is one file of UTF-8 text, one
// .jsonl file whose lines are objects with a string "text", or a directory of .txt and .jsonl files, taken in the order
// of their names. A text file is one document, a line of .jsonl is one. NUL bytes and CR are kept; a byte order mark at
// the start of a file is not text; empty documents are passed over. Invalid UTF-8: UserError naming file and byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/tokenizer.h"

namespace espalier {

inline constexpr size_t kTextChunkBytes = size_t{4} << 20;

// The files of a path. UserError when there are none.
std::vector<std::filesystem::path> text_files(const std::filesystem::path& path);

// Hex SHA-256 of the data: of the file, or of the lines "<sha256>  <name>\n" of a directory's files.
std::string text_sha256(const std::filesystem::path& path);

// Where to cut valid text that goes on, at most text.size() and not 0. In the second half of the text, from the right:
// 1. before a space or '\n' between two ASCII letters; 2. before a space between two other characters that are no ASCII
// white space; 3. behind a '\n' between such characters; 4. at the end of the last whole character.
size_t text_cut(std::string_view text);

// Documents in chunks of at most chunk_bytes, cut by text_cut().
class TextReader {
 public:
  explicit TextReader(const std::filesystem::path& path, size_t chunk_bytes = kTextChunkBytes);
  struct Chunk {
    std::string text;  // may be empty at the end of a document
    bool starts_document = false, ends_document = false;
  };
  bool next(Chunk& chunk);  // false: no more documents

 private:
  bool open_document();
  bool open_file();
  bool read_record();
  bool read_line(std::string& line);
  void fill(size_t bytes);
  void check_utf8(std::string_view text, uint64_t offset, bool complete) const;
  std::string_view rest() const { return std::string_view(buffer_).substr(begin_); }
  void drop(size_t bytes);

  std::vector<std::filesystem::path> files_;
  size_t chunk_bytes_, next_file_ = 0;
  std::ifstream file_;
  std::string where_;
  bool is_jsonl_ = false, in_document_ = false, starts_ = false, file_done_ = true;
  std::string buffer_;        // of the file: bytes read and not yet given out
  size_t begin_ = 0;          // where in buffer_ they begin
  uint64_t offset_ = 0;       // of that byte in the file
  uint64_t line_number_ = 0;  // .jsonl
  std::string record_;        // .jsonl: the text of the current document
  size_t record_begin_ = 0;
};

// The ids of the documents, each with the tokenizer's special tokens around it. The chunks of a document give the ids
// of the whole document wherever the cut was of kind 1 of text_cut() and no token of the vocabulary and no added token
// spans white space between two letters. That holds for byte-level BPE with the splits of GPT-2, Llama 3 and Qwen 2,
// for SentencePiece models trained with split_by_whitespace (the default), WordPiece and characters. Documents of less
// than kTextChunkBytes are never cut.
class TokenStream {
 public:
  TokenStream(const std::filesystem::path& path, std::shared_ptr<const Tokenizer> tokenizer,
              bool add_special_tokens = true, size_t chunk_bytes = kTextChunkBytes);
  bool next(std::vector<int32_t>& ids);  // appends those of the next chunk; false: nothing is left

 private:
  TextReader reader_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool add_special_tokens_;
};

// All of them, at most `limit` (0: all).
std::vector<int32_t> ids_of(TokenStream stream, int64_t limit);

struct WindowOptions {
  int64_t window = 0;  // tokens in each
  int64_t stride = 0;  // from the start of one to the start of the next; 0: window
  int64_t max_windows = std::numeric_limits<int64_t>::max();
  bool add_special_tokens = true;  // around each document
};

// Windows of exactly `window` tokens over the concatenated documents; a rest that fills none is dropped.
class WindowReader {
 public:
  WindowReader(const std::filesystem::path& path, std::shared_ptr<const Tokenizer> tokenizer,
               const WindowOptions& options);
  bool next(std::vector<int32_t>& window);
  int64_t tokens_read() const { return tokens_read_; }

 private:
  TokenStream stream_;
  WindowOptions options_;
  std::vector<int32_t> ids_;
  size_t begin_ = 0;
  int64_t given_ = 0, tokens_read_ = 0;
};

// All of them. UserError when the text does not fill one window.
std::vector<std::vector<int32_t>> token_windows(const std::filesystem::path& path,
                                                std::shared_ptr<const Tokenizer> tokenizer,
                                                const WindowOptions& options);

enum class TextUnit {
  kLine,
  kParagraph,  // lines up to an empty one
  kDocument,
};

// Units that are not only white space, without the end of their last line. A unit of more than max_bytes is cut there,
// at the end of a character.
class UnitReader {
 public:
  UnitReader(const std::filesystem::path& path, TextUnit unit, size_t max_bytes = size_t{1} << 20);
  bool next(std::string& unit);

 private:
  bool next_line(std::string& line, bool& document_ended);
  TextReader reader_;
  TextUnit unit_;
  size_t max_bytes_;
  TextReader::Chunk chunk_;
  size_t at_ = 0;
  bool has_chunk_ = false;
};

struct PromptOptions {
  TextUnit unit = TextUnit::kParagraph;
  int64_t max_prompts = std::numeric_limits<int64_t>::max();
  int64_t max_tokens = std::numeric_limits<int64_t>::max();  // of each prompt, the first ones
  bool add_special_tokens = true;
};

// The first units as ids. UserError when there are none.
std::vector<std::vector<int32_t>> token_prompts(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                                const PromptOptions& options);

}  // namespace espalier
