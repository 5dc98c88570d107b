// The next token from logits. Deterministic for a seed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "espalier/core/rng.h"

namespace espalier {

struct SamplingOptions {
  double temperature = 0;         // 0: always the most probable token (the lowest id among equals)
  int64_t top_k = 0;              // 0: no limit
  double top_p = 1, min_p = 0;    // min_p: of the largest probability
  double repetition_penalty = 1;  // > 1: divides positive, multiplies negative logits of the ids in `seen` (CTRL, 2019)
  double frequency_penalty = 0, presence_penalty = 0;  // subtracted, as the OpenAI interface defines them
};

class Sampler {
 public:
  Sampler(const SamplingOptions& options, uint64_t seed);
  void saw(int32_t id);  // a token of the prompt or of the answer
  // Order: penalties, temperature, top-k, top-p, min-p. Logits are changed in place.
  int32_t choose(std::span<float> logits);

 private:
  SamplingOptions options_;
  Rng rng_;
  std::vector<std::pair<int32_t, int32_t>> seen_;  // id, times
  std::vector<int32_t> order_;
};

}  // namespace espalier
