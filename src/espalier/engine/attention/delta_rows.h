// Keys of one head as differences of neighbours: of a token only those channels are stored that moved by more than a
// threshold since they were stored last. A query's score with token n is the running sum of its products with the stored
// differences up to n. Tokens are numbered from 0 and belong to pages of the cache by their number.
#pragma once

#include <cstdint>
#include <vector>

#include "espalier/engine/attention/far_keys.h"

namespace espalier {

class DeltaRows {
 public:
  DeltaRows(int64_t channels, int64_t page) : channels_(channels), page_(page), words_((channels + 63) / 64) {}

  // No allocation for so many more, nor for what follows in the last one's page: decoding allocates where a page begins.
  void reserve(int64_t tokens);
  // The first token is stored whole. threshold ≥ 0: a channel moves when it differs by more.
  void append(const float* key, float threshold);

  int64_t tokens() const { return static_cast<int64_t>(masks_.size()) / words_; }
  uint64_t stored() const { return values_.size(); }  // numbers of all tokens
  const std::vector<float>& reference() const { return reference_; }  // the last token, as far queries see it
  void difference(int64_t token, float* row) const;   // [channels], zeros where nothing is stored
  void approximation(int64_t token, float* row) const;  // [channels]: as far queries see the token

  // Scores of FarKeys::scores() for the tokens of one page.
  FarCounts scores(int64_t page, FarRows& rows, const uint64_t* masks, uint64_t seen, float* scores) const;

  uint64_t bytes() const;
  void shrink();  // gives back what reserve() took too much

 private:
  int64_t stored_of(int64_t token) const;
  const uint64_t* mask(int64_t token) const { return masks_.data() + token * words_; }
  void add_row(int64_t token, const float*& value, FarRows& rows) const;

  int64_t channels_, page_, words_;
  std::vector<uint64_t> masks_;   // [tokens, words]
  std::vector<float> values_;     // the stored differences, token by token, channels ascending
  std::vector<uint64_t> starts_;  // of each page in values_
  std::vector<float> bases_;      // [pages, channels]: as far queries see the token before the page
  std::vector<float> reference_;
};

}  // namespace espalier
