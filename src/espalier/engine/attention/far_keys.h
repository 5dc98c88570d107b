// Keys that a query sees as they are where it is near to them, and in a form of the policy's own elsewhere.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace espalier {

// Query i is near to key j ≤ i when j < sink or j ≥ first(i).
struct NearRegion {
  static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

  int64_t sink = 0;
  int64_t block = 0;   // queries before `decode`: keys of the query's own block of so many tokens
  int64_t window = 0;  // where block is 0: the last so many keys, the query's own among them; 0: none
  int64_t decode = kAll, decode_window = 1;  // from position `decode` on the last decode_window keys

  int64_t first(int64_t i) const {
    if (i >= decode) return i - std::min(decode_window, i + 1) + 1;
    return block > 0 ? i / block * block : i - std::min(window, i + 1) + 1;
  }
  bool near(int64_t i, int64_t j) const { return j < sink || j >= first(i); }
};

// Rows of queries on their way over the pages of one head.
struct FarRows {
  const float* q = nullptr;    // [channels, kBlockRows]: scaled and rotated, one row a column
  float* running = nullptr;    // [kBlockRows]: what was left behind the last page
  int64_t after = -1;          // that page; -1: none
  int64_t rows = 0;
};

struct FarCounts {
  uint64_t multiplies = 0, bytes = 0;
};

class FarKeys {
 public:
  virtual ~FarKeys() = default;
  virtual const NearRegion& near_region() const = 0;  // of the forward that runs
  // scores[r · kScoreStride + slot] = q[r] · key for the page's slots. masks: the far keys of each row, all of them or-ed
  // in `seen`; only these count. Called from several threads.
  virtual FarCounts scores(int layer, int64_t kv_head, int64_t page, FarRows& rows, const uint64_t* masks, uint64_t seen, float* scores) const = 0;
};

}  // namespace espalier
