// How good is a language model on a text, and how far is it from its dense original.
#pragma once

#include <algorithm>
#include <optional>

#include "espalier/graph/graph.h"
#include "espalier/lab/measure/block_stream.h"

namespace espalier {

struct Estimate {
  double value = 0, low = 0, high = 0;  // with its 95 % interval
};

struct Quality {
  Estimate perplexity;     // exp of the mean negative log-likelihood in nats a token
  double nats_per_token = 0;
  int64_t tokens = 0;      // scored
  double seconds = 0;
  std::optional<double> kl;         // mean over positions of KL(dense ‖ this), nats
  std::optional<double> agreement;  // share of positions where both put the same token first
};

// Tokens a sequence when nobody says: what the model was trained for, at most 2048 as the field reports it.
inline int64_t default_length(int64_t context_length) { return std::min<int64_t>(context_length, 2048); }

// Windows of `length` tokens, a new one every `stride` (length: no overlap). A window's first token is never scored,
// nor what an earlier window scored. The last, shorter window counts when it has at least two tokens.
TokenSequences windows_of(const std::vector<int32_t>& tokens, int64_t length, int64_t stride);

// Perplexity over windows made by windows_of with this stride; against: the dense model on the same windows.
// The interval comes from the spread of the windows' means (of the tokens', when there is one window only).
Quality measure_quality(const Graph& graph, const TokenSequences& windows, int64_t length, int64_t stride,
                        const Graph* against = nullptr);

}  // namespace espalier
