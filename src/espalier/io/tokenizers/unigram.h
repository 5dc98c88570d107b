// The unigram language model (Kudo 2018): of all segmentations the one whose tokens have the largest sum of scores
// (log-probabilities), by Viterbi. Of equal sums the path with the longer earlier tokens stays.
#pragma once

#include <array>
#include <optional>

#include "espalier/io/tokenizers/model.h"
#include "espalier/io/tokenizers/trie.h"

namespace espalier::tok {

struct UnigramOptions {
  std::vector<double> scores;  // by id, finite
  std::vector<bool> in_text;   // by id: whether the token may match text; empty: all
  std::optional<int32_t> unk_id;
  double unk_score = 0;  // of one unknown character
  bool byte_fallback = false;
};

class Unigram : public Model {
 public:
  Unigram(Vocab vocab, UnigramOptions options);
  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;
  bool cuts_at_space_symbol() const override { return cuts_at_space_symbol_; }

 private:
  struct Node {
    double score = 0;
    int32_t begin = -1;  // of the last token of the best path to here; -1: not reached
    int32_t id = -1;
  };
  std::vector<Node> best_paths(std::string_view piece) const;
  void append(std::string_view text, int32_t id, std::vector<int32_t>& ids) const;
  int32_t unk_id(std::string_view text) const;

  UnigramOptions options_;
  Trie trie_;
  std::array<int32_t, 256> byte_tokens_;
  bool cuts_at_space_symbol_;
};

}  // namespace espalier::tok
