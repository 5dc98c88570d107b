// SpAtten's bookkeeping: which tokens and heads go on from layer to layer, and how many.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "espalier/core/largest_scores.h"

namespace espalier {

class ImportanceRanking {
 public:
  // The `count` most important of the candidates (ascending ids), all of them if they are fewer; of equal ones the first.
  // Protected ones (ascending, at most `count`) are kept in any case and count. Memory stays from call to call.
  void choose(std::span<const int32_t> candidates, std::span<const float> importance, int64_t count, std::span<const int32_t> protected_ids, std::vector<int32_t>& kept);

 private:
  std::vector<float> scores_;
  LargestScores largest_;
};

// The same once.
std::vector<int32_t> most_important(std::span<const int32_t> candidates, std::span<const float> importance, int64_t count,
                                    std::span<const int32_t> protected_ids = {});

// Shares kept by layers: 1 for the first ceil(front · layers), then from `start` to `end` in equal steps.
std::vector<double> keep_schedule(int64_t layers, double front, double start, double end);
// max(1, floor(share · n)).
int64_t keep_count(double share, int64_t n);

}  // namespace espalier
