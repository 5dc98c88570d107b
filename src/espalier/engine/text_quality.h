// How the perplexity of a text is counted, whoever computes the logits: windows, what of them is scored, the interval.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <utility>
#include <vector>

#include "espalier/engine/statistics.h"
#include "espalier/families/family.h"

namespace espalier {

using TokenSequences = std::vector<std::vector<int32_t>>;

// The text as the model's tokens, at most `limit` of them (0: all). UserError for an id outside the vocabulary.
std::vector<int32_t> tokens_of(const std::filesystem::path& data, const Model& model, int64_t limit);

// Tokens a sequence when nobody says: what the model was trained for, at most 2048 as the field reports it.
inline int64_t default_length(int64_t context_length) { return std::min<int64_t>(context_length, 2048); }

// Windows of `length` tokens, a new one every `stride` (length: no overlap). A window's first token is never scored,
// nor what an earlier window scored. The last, shorter window counts when it has at least two tokens.
TokenSequences windows_of(const std::vector<int32_t>& tokens, int64_t length, int64_t stride);

// The first position of a window whose token is scored.
inline int64_t first_scored(size_t window, int64_t length, int64_t stride) {
  return window == 0 ? 1 : std::max<int64_t>(1, length - stride);
}

// Negative log-likelihoods in nats, by window.
class NatsSums {
 public:
  void add(size_t window, double nats, double squares, int64_t tokens);
  int64_t tokens() const { return tokens_; }
  double nats_per_token() const { return nats_ / static_cast<double>(tokens_); }
  // The interval comes from the spread of the windows' means (of the tokens', when there is one window only).
  Estimate perplexity() const;

 private:
  double standard_error() const;

  double nats_ = 0, squares_ = 0;
  int64_t tokens_ = 0;
  std::vector<std::pair<double, int64_t>> windows_;  // nats and tokens of each
};

}  // namespace espalier
