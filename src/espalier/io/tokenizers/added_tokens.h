// Tokens that are recognised in the text before anything else: special tokens and words added after training.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/io/tokenizers/normalizer.h"
#include "espalier/io/tokenizers/trie.h"
#include "espalier/io/tokenizers/vocab.h"

namespace espalier::tok {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;      // left out by decode on request
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and behind it
  bool normalized = false;   // looked for in normalised text, in normalised form
  bool in_text = true;       // false: only the id is special, the text is plain text
};

class AddedTokens {
 public:
  AddedTokens() = default;
  // UserError: a content or an id that contradicts the vocabulary or another added token.
  AddedTokens(std::vector<AddedToken> tokens, const Vocab& vocab, const Normalizer* normalizer,
              const std::string& where);
  AddedTokens(const AddedTokens&) = delete;
  AddedTokens(AddedTokens&&) = default;
  AddedTokens& operator=(AddedTokens&&) = default;

  struct Segment {
    size_t begin, end;
    const AddedToken* token;  // nullptr: plain text
  };
  // The segments of `text` from left to right, never empty: those of the tokens with `normalized` as given, of several
  // that begin at one place the longest. Gaps are plain text.
  std::vector<Segment> segments(std::string_view text, bool normalized) const;

  const AddedToken* by_id(int32_t id) const;
  // What decode() starts from: the content, normalised where asked for. `token` must be one of list().
  const std::string& text_of(const AddedToken& token) const {
    return patterns_[static_cast<size_t>(&token - tokens_.data())];
  }
  const AddedToken* by_content(std::string_view content) const;
  int32_t end_id() const { return end_id_; }  // largest id + 1, or 0
  const std::vector<AddedToken>& list() const { return tokens_; }

 private:
  void index(const Vocab& vocab, const std::string& where);
  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> ids_;
  std::unordered_map<std::string_view, size_t> contents_;
  std::vector<std::string> patterns_;  // contents, normalised where asked for
  Trie plain_, normalized_;
  int32_t end_id_ = 0;
};

// The array "added_tokens" of tokenizer.json.
std::vector<AddedToken> added_tokens_from_json(const Json& list, const std::string& where);

}  // namespace espalier::tok
