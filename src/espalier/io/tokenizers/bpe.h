// Byte pair encoding (Sennrich et al. 2016): a piece starts as its characters, and the pair of neighbours whose merge
// has the lowest rank is joined until none is left, the leftmost first. With a heap: O(n log n) for n characters.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "espalier/io/tokenizers/model.h"
#include "espalier/io/tokenizers/pair_table.h"

namespace espalier::tok {

struct BpeOptions {
  std::optional<int32_t> unk_id;
  std::string unk_token;          // named in the error when it is needed but unknown
  std::string continuing_prefix;  // before each character but the first
  std::string end_suffix;         // behind the last character
  bool fuse_unk = false;          // neighbouring unknown characters make one unknown token
  bool byte_fallback = false;     // an unknown character becomes the tokens of its bytes, if all are there
  bool ignore_merges = false;     // a piece that is a token is not taken apart
};

class Bpe : public Model {
 public:
  Bpe(Vocab vocab, PairTable merges, BpeOptions options);
  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;
  bool cuts_at_space_symbol() const override { return cuts_at_space_symbol_; }

 private:
  void start(std::string_view piece, std::vector<int32_t>& ids) const;
  std::optional<int32_t> char_token(std::string_view piece, size_t begin, size_t end) const;
  bool append_bytes(std::string_view text, std::vector<int32_t>& ids) const;
  int32_t unk_id(std::string_view text) const;
  void join(std::vector<int32_t>& ids) const;

  PairTable merges_;
  BpeOptions options_;
  std::array<int32_t, 256> byte_tokens_;
  bool cuts_at_space_symbol_;
};

}  // namespace espalier::tok
