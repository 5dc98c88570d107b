// Arms of S2-Attention's reproduction: a fresh small decoder learns to copy under a pattern, and is measured under it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace espalier {

struct CopyBudget {
  int64_t length = 128;  // tokens of a text: random ones, and the same again
  int64_t batch = 16, steps = 500;
  double learning_rate = 6e-3;  // AdamW, by a cosine to a twentieth
  int64_t held_out = 64;        // texts to measure on
};

struct CopyArm {
  std::vector<double> nats;  // mean of the copied tokens, for each held-out text
  double right = 0;          // share of the copied tokens that are the most probable ones
  double seen = 1;           // share of the pairs of a query and a key up to it, mean over layers
};

// pattern: options of 36-s2-attention; empty: dense attention. Two layers with four heads of their own keys and values. The
// seed gives the start, the texts and their order, whatever the pattern.
CopyArm train_to_copy(const std::map<std::string, std::string>& pattern, const CopyBudget& budget, uint64_t seed);

}  // namespace espalier
