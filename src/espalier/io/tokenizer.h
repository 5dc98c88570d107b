// Text to token ids and back, from the tokenizer files of a model. The ids are those of Hugging Face's "tokenizers"
// and of SentencePiece; tests/judge/tokenizers_judge.py compares.
//
// Read: tokenizer.json (models BPE, WordPiece, Unigram, WordLevel), SentencePiece's tokenizer.model (BPE, Unigram),
// GPT-2's vocab.json with merges.txt, BERT's vocab.txt. Sections "truncation" and "padding" are not applied.
// Every file may be hostile: what it declares is checked and bounded, regular expressions included.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

namespace tok {
struct Pipeline;
}

// Immutable; one object may be used by any number of threads.
class Tokenizer {
 public:
  // A directory (tokenizer.json, else tokenizer.model, else vocab.json and merges.txt, else vocab.txt) or one of these
  // files. Special ids come from the JSON files beside it. UserError: nothing there, malformed, or a part that is not
  // known, with the known ones listed.
  static std::shared_ptr<const Tokenizer> load(const std::filesystem::path& directory_or_file);
  // From the content of a tokenizer.json or tokenizer.model; `where` names it in errors.
  static std::shared_ptr<const Tokenizer> from_json(std::string_view text, const std::string& where);
  static std::shared_ptr<const Tokenizer> from_sentencepiece(std::string_view bytes, const std::string& where);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;

  // add_special_tokens: with what the post-processor puts around a text, e.g. BOS. UserError on invalid UTF-8.
  // Time O(n log n) for any text of n bytes, memory up to 40 bytes a byte of the longest stretch that has no place to
  // split it, which must be below 2 GiB.
  std::vector<int32_t> encode(std::string_view utf8, bool add_special_tokens = true) const;
  // As the continuation of text whose last character is no white space: nothing is added or stripped at its left end.
  // encode(a, false) + encode_continuation(b) = encode(a + b, false) where no token spans the cut; see text_dataset.h.
  std::vector<int32_t> encode_continuation(std::string_view utf8) const;
  // What encode(…, true) puts before and behind.
  const std::vector<int32_t>& special_prefix() const;
  const std::vector<int32_t>& special_suffix() const;

  // Always valid UTF-8: bytes that are none become U+FFFD. Ids that name no token are passed over.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  int32_t vocab_size() const;  // largest id + 1
  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(int32_t id) const;
  bool is_special(int32_t id) const;

  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> pad_id() const;
  std::optional<int32_t> unk_id() const;
  std::optional<int32_t> mask_id() const;  // a special token [MASK] or <mask>, where no file names one
  const std::vector<int32_t>& stop_ids() const;  // every id that ends generation, eos_id() included

  // What to copy beside a written checkpoint; empty for from_…().
  const std::vector<std::filesystem::path>& files() const { return files_; }

 private:
  explicit Tokenizer(tok::Pipeline pipeline, std::vector<std::filesystem::path> files = {});
  std::unique_ptr<const tok::Pipeline> pipeline_;
  std::vector<std::filesystem::path> files_;
};

// Decodes ids as they are generated. The pieces returned are complete UTF-8, and joined they are
// decode(all ids, skip_special_tokens), provided that this contains no U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens = true);
  std::string push(int32_t id);  // the text that is now certain; often empty
  std::string finish();          // the rest, with U+FFFD for an unfinished character; ready for another stream

 private:
  std::string take(const std::string& text);
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_tokens_;
  std::vector<int32_t> ids_;  // the last ones returned, as context, and those that wait
  size_t context_ = 0;        // how many are context
  std::string shown_;         // the text of the context
};

}  // namespace espalier
