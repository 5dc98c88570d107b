#include "espalier/io/text_dataset.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxLineBytes = size_t{256} << 20;  // of a .jsonl file, which is parsed as a whole
constexpr size_t kMinChunkBytes = 16;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool continues_char(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

bool is_blank(std::string_view text) { return std::all_of(text.begin(), text.end(), is_space); }

// The largest length up to `bytes` that does not end inside a character.
size_t whole_chars(std::string_view text, size_t bytes) {
  if (bytes >= text.size()) return text.size();
  while (bytes > 0 && continues_char(text[bytes])) --bytes;
  return bytes;
}

}  // namespace

std::vector<fs::path> text_files(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) user_error("{}: no such file or directory", path.string());
  if (!fs::is_directory(path, error)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string extension = entry.path().extension().string();
    if ((extension == ".txt" || extension == ".jsonl") && entry.is_regular_file(error)) files.push_back(entry.path());
  }
  if (error) user_error("{}: cannot list: {}", path.string(), error.message());
  if (files.empty()) user_error("{}: no .txt and no .jsonl file in this directory", path.string());
  std::sort(files.begin(), files.end());
  return files;
}

std::string text_sha256(const fs::path& path) {
  if (!fs::is_directory(path)) return sha256_of_file(path);
  std::string lines;
  for (const auto& file : text_files(path))
    lines += fmt::format("{}  {}\n", sha256_of_file(file), file.filename().string());
  return sha256_of(lines);
}

size_t text_cut(std::string_view text) {
  size_t space = 0, line = 0;
  for (size_t at = text.size() < 2 ? 0 : text.size() - 2; at > text.size() / 2; --at) {
    if (text[at] != ' ' && text[at] != '\n') continue;
    const char before = text[at - 1], after = text[at + 1];
    if (is_letter(before) && is_letter(after)) return at;
    if (is_space(before) || is_space(after)) continue;
    if (text[at] == ' ' && space == 0) space = at;
    if (text[at] == '\n' && line == 0) line = at + 1;
  }
  return space > 0 ? space : line > 0 ? line : text.size();
}

TextReader::TextReader(const fs::path& path, size_t chunk_bytes)
    : files_(text_files(path)), chunk_bytes_(std::max(chunk_bytes, kMinChunkBytes)) {}

void TextReader::drop(size_t bytes) {
  begin_ += bytes;
  offset_ += bytes;
}

void TextReader::fill(size_t bytes) {
  if (begin_ > 0) buffer_.erase(0, std::exchange(begin_, 0));
  while (!file_done_ && buffer_.size() < bytes) {
    const size_t have = buffer_.size();
    buffer_.resize(bytes);
    file_.read(buffer_.data() + have, static_cast<std::streamsize>(bytes - have));
    buffer_.resize(have + static_cast<size_t>(file_.gcount()));
    if (file_.bad()) user_error("{}: cannot read at byte {}", where_, offset_ + buffer_.size());
    file_done_ = !file_;
  }
}

void TextReader::check_utf8(std::string_view text, uint64_t offset, bool complete) const {
  constexpr size_t kMaxUnfinished = 3;
  const size_t valid = valid_utf8_prefix(text);
  if (valid == text.size() || (!complete && text.size() - valid <= kMaxUnfinished)) return;
  user_error("{}: not valid UTF-8 at byte {}", where_, offset + valid);
}

bool TextReader::open_file() {
  if (next_file_ == files_.size()) return false;
  const fs::path& path = files_[next_file_++];
  where_ = path.string();
  is_jsonl_ = path.extension() == ".jsonl";
  file_ = std::ifstream(path, std::ios::binary);
  if (!file_) user_error("{}: cannot open", where_);
  buffer_.clear();
  begin_ = offset_ = line_number_ = 0;
  file_done_ = false;
  fill(kMinChunkBytes);
  if (rest().starts_with("\xef\xbb\xbf")) drop(3);
  return true;
}

bool TextReader::open_document() {
  for (;;) {
    if (is_jsonl_ && read_record()) return true;
    if (!open_file()) return false;
    if (!is_jsonl_ && !rest().empty()) return true;
  }
}

// One line without its end; false at the end of the file.
bool TextReader::read_line(std::string& line) {
  size_t end = rest().find('\n');
  for (size_t searched = 0; end == std::string_view::npos && !file_done_; end = rest().find('\n', searched)) {
    searched = rest().size();
    if (searched > kMaxLineBytes)
      user_error("{}: line {} has more than {} bytes", where_, line_number_ + 1, kMaxLineBytes);
    fill(std::max(searched * 2, size_t{1} << 16));
  }
  if (rest().empty()) return false;
  line = rest().substr(0, end);
  ++line_number_;
  check_utf8(line, offset_, true);
  drop(std::min(line.size() + 1, rest().size()));
  return true;
}

bool TextReader::read_record() {
  for (std::string line; read_line(line);) {
    if (is_blank(line)) continue;
    const std::string here = fmt::format("{}: line {}", where_, line_number_);
    const Json record = parse_json(line, here);
    if (!record.is_object()) throw UserError(here, "value", "an object with a string \"text\"", describe(record));
    record_ = json_string(record, "text", here);
    record_begin_ = 0;
    if (!record_.empty()) return true;
  }
  is_jsonl_ = false;  // this file is done
  return false;
}

bool TextReader::next(Chunk& chunk) {
  if (!in_document_) {
    if (!open_document()) return false;
    in_document_ = starts_ = true;
  }
  if (!is_jsonl_) fill(chunk_bytes_);
  const bool all_read = is_jsonl_ || file_done_;
  std::string_view text = is_jsonl_ ? std::string_view(record_).substr(record_begin_) : rest();
  chunk.ends_document = all_read && text.size() <= chunk_bytes_;
  text = text.substr(0, chunk_bytes_);
  if (!is_jsonl_) check_utf8(text, offset_, chunk.ends_document);
  if (!chunk.ends_document) {
    text = text.substr(0, valid_utf8_prefix(text));
    text = text.substr(0, text_cut(text));
  }
  chunk.text = text;
  chunk.starts_document = std::exchange(starts_, false);
  in_document_ = !chunk.ends_document;
  if (is_jsonl_) {
    record_begin_ += text.size();
  } else {
    drop(text.size());
  }
  return true;
}

TokenStream::TokenStream(const fs::path& path, std::shared_ptr<const Tokenizer> tokenizer, bool add_special_tokens,
                         size_t chunk_bytes)
    : reader_(path, chunk_bytes), tokenizer_(std::move(tokenizer)), add_special_tokens_(add_special_tokens) {}

bool TokenStream::next(std::vector<int32_t>& ids) {
  TextReader::Chunk chunk;
  if (!reader_.next(chunk)) return false;
  const auto append = [&](const std::vector<int32_t>& more) { ids.insert(ids.end(), more.begin(), more.end()); };
  if (add_special_tokens_ && chunk.starts_document) append(tokenizer_->special_prefix());
  append(chunk.starts_document ? tokenizer_->encode(chunk.text, false) : tokenizer_->encode_continuation(chunk.text));
  if (add_special_tokens_ && chunk.ends_document) append(tokenizer_->special_suffix());
  return true;
}

std::vector<int32_t> ids_of(TokenStream stream, int64_t limit) {
  std::vector<int32_t> ids;
  while ((limit == 0 || static_cast<int64_t>(ids.size()) < limit) && stream.next(ids)) {
  }
  if (limit > 0 && static_cast<int64_t>(ids.size()) > limit) ids.resize(static_cast<size_t>(limit));
  return ids;
}

WindowReader::WindowReader(const fs::path& path, std::shared_ptr<const Tokenizer> tokenizer,
                           const WindowOptions& options)
    : stream_(path, std::move(tokenizer), options.add_special_tokens), options_(options) {
  if (options_.window < 1)
    throw UserError(path.string(), "window", "at least one token", std::to_string(options_.window));
  if (options_.stride == 0) options_.stride = options_.window;
  if (options_.stride < 1 || options_.stride > options_.window)
    throw UserError(path.string(), "stride", fmt::format("1 to the window of {} tokens", options_.window),
                    std::to_string(options_.stride));
}

bool WindowReader::next(std::vector<int32_t>& window) {
  if (given_ == options_.max_windows) return false;
  const auto wanted = static_cast<size_t>(options_.window);
  while (ids_.size() - begin_ < wanted) {
    ids_.erase(ids_.begin(), ids_.begin() + static_cast<ptrdiff_t>(std::exchange(begin_, 0)));
    const size_t before = ids_.size();
    if (!stream_.next(ids_)) return false;
    tokens_read_ += static_cast<int64_t>(ids_.size() - before);
  }
  const auto first = ids_.begin() + static_cast<ptrdiff_t>(begin_);
  window.assign(first, first + static_cast<ptrdiff_t>(wanted));
  begin_ += static_cast<size_t>(options_.stride);
  ++given_;
  return true;
}

std::vector<std::vector<int32_t>> token_windows(const fs::path& path, std::shared_ptr<const Tokenizer> tokenizer,
                                                const WindowOptions& options) {
  WindowReader reader(path, std::move(tokenizer), options);
  std::vector<std::vector<int32_t>> windows;
  for (std::vector<int32_t> window; reader.next(window);) windows.push_back(window);
  if (windows.empty() && options.max_windows > 0)
    throw UserError(path.string(), "text", fmt::format("at least {} tokens, one window", options.window),
                    std::to_string(reader.tokens_read()));
  return windows;
}

UnitReader::UnitReader(const fs::path& path, TextUnit unit, size_t max_bytes)
    : reader_(path), unit_(unit), max_bytes_(max_bytes) {
  constexpr size_t kMaxCharBytes = 4;
  if (max_bytes < kMaxCharBytes)
    throw UserError(path.string(), "max_bytes", "at least one character, 4", std::to_string(max_bytes));
}

// A line or the rest of a document, of which the first max_bytes_ are kept (and up to three more, so that the caller
// sees whole characters). For documents, the whole document counts as one line.
bool UnitReader::next_line(std::string& line, bool& document_ended) {
  line.clear();
  for (;;) {
    if (!has_chunk_) {
      if (!reader_.next(chunk_)) return false;
      has_chunk_ = true;
      at_ = 0;
    }
    const size_t found = unit_ == TextUnit::kDocument ? std::string::npos : chunk_.text.find('\n', at_);
    const bool line_ends = found != std::string::npos;
    const size_t end = line_ends ? found : chunk_.text.size();
    constexpr size_t kMaxCharBytes = 4;
    if (line.size() < max_bytes_ + kMaxCharBytes)
      line.append(chunk_.text, at_, std::min(end - at_, max_bytes_ + kMaxCharBytes - line.size()));
    at_ = line_ends ? found + 1 : end;
    has_chunk_ = line_ends;
    document_ended = !line_ends && chunk_.ends_document;
    if (line_ends || document_ended) break;
  }
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

bool UnitReader::next(std::string& unit) {
  unit.clear();
  bool document_ended = false;
  for (std::string line; next_line(line, document_ended);) {
    const bool blank = is_blank(line);
    if (!blank && unit.size() < max_bytes_) {
      if (!unit.empty()) unit += '\n';
      unit += line;
    }
    const bool joins = unit_ == TextUnit::kParagraph && !blank && !document_ended;
    if (!joins && !unit.empty()) break;
  }
  unit.resize(whole_chars(unit, max_bytes_));
  return !unit.empty();
}

std::vector<std::vector<int32_t>> token_prompts(const fs::path& path, const Tokenizer& tokenizer,
                                                const PromptOptions& options) {
  if (options.max_tokens < 1 || options.max_prompts < 1)
    throw UserError(path.string(), "prompts and tokens", "at least one of each",
                    fmt::format("{} and {}", options.max_prompts, options.max_tokens));
  UnitReader reader(path, options.unit);
  std::vector<std::vector<int32_t>> prompts;
  for (std::string unit; static_cast<int64_t>(prompts.size()) < options.max_prompts && reader.next(unit);) {
    auto& ids = prompts.emplace_back(tokenizer.encode(unit, options.add_special_tokens));
    if (static_cast<int64_t>(ids.size()) > options.max_tokens) ids.resize(static_cast<size_t>(options.max_tokens));
  }
  if (prompts.empty()) user_error("{}: no text but white space", path.string());
  return prompts;
}

}  // namespace espalier
