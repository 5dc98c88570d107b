// The k largest of many scores, again and again: as select_largest() of ranking.h, but memory is kept from call to call, so
// that a step of decoding allocates nothing.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace espalier {

class LargestScores {
 public:
  // Positions ascending; of equal scores the first; NaN counts as -infinity.
  void choose(std::span<const float> scores, int64_t k, std::vector<int32_t>& chosen);

 private:
  struct Candidate {
    float score;
    int32_t position;
  };
  static constexpr int kBuckets = 512;
  std::vector<uint16_t> bucket_;  // of each score
  std::vector<Candidate> candidates_;
  std::array<int32_t, kBuckets> counts_{};
};

}  // namespace espalier
