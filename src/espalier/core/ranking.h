// The one place where "the k smallest" is decided: exactly k, stable, lowest index first among equals.
// Every pruning method ranks through these functions, so that counts are exact and ties do not depend on the method,
// the thread count or the machine. Scores are fp32; -0 equals +0; infinities rank at the ends; NaN has no rank.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace espalier {

// floor(share * n + 1e-9): how many of n entries a share removes. 0 <= share <= 1.
int64_t removal_count(double share, int64_t n);

// UserError naming `where` unless 0 <= share < 1.
void check_share(double share, const std::string& where);

// Nearest integer, halves to the even one, whatever the rounding mode of the process.
int64_t round_half_even(double value);

// UserError naming `name` and the first position that holds NaN.
void check_no_nan(std::span<const float> scores, const std::string& name);

// A removal: every entry below `threshold`, and the first `ties` entries equal to it. The default removes nothing.
struct Cut {
  float threshold = -std::numeric_limits<float>::infinity();
  int64_t ties = 0;
};

// The cut that removes exactly the k smallest. No score may be NaN.
Cut find_cut(std::span<const float> scores, int64_t k);

// Clears keep[i] where the cut removes entry i and leaves the rest of keep alone; returns how many it removed.
// Uses up cut.ties, so that one cut can be applied to consecutive pieces of a longer sequence.
int64_t apply_cut(Cut& cut, std::span<const float> scores, std::span<uint8_t> keep);

// How many entries lie below the threshold and how many equal it.
struct CutCount {
  int64_t below = 0, equal = 0;
};
CutCount count_at(float threshold, std::span<const float> scores);

// 1 = kept: all but the k smallest.
std::vector<uint8_t> keep_all_but_smallest(std::span<const float> scores, int64_t k);

// Positions of the k smallest / largest, ascending. Among equals the lowest index is taken first in both.
std::vector<int64_t> select_smallest(std::span<const float> scores, int64_t k);
std::vector<int64_t> select_largest(std::span<const float> scores, int64_t k);

// All positions by ascending score: the order in which a removal takes them.
std::vector<int64_t> ascending_order(std::span<const float> scores);
std::vector<int64_t> ascending_order(std::span<const double> scores);

// In every run of m consecutive scores the m - n smallest are cleared in keep. scores.size() is a multiple of m.
void keep_n_of_m(std::span<const float> scores, int64_t n, int64_t m, std::span<uint8_t> keep);

// The k smallest magnitudes over tensors that are never all in memory: radix selection on the bit pattern of |w|
// (for non-negative floats the order of bits is the order of values). Two passes over the tensors, in any order:
//   survey(each); choose(k); refine(each); cut()
// The cut refers to |w| over the tensors in the collected order. `limit` restricts a tensor to the entries that the
// limit itself would remove: with limit = find_cut(|w|, size - p), its p largest entries take no part.
class StreamingCut {
 public:
  StreamingCut();
  void survey(std::span<const float> weights, const Cut* limit = nullptr);
  int64_t surveyed() const { return surveyed_; }
  void choose(int64_t k);  // k <= surveyed()
  void refine(std::span<const float> weights, const Cut* limit = nullptr);
  Cut cut() const;

 private:
  std::vector<int64_t> upper_, lower_;  // counts by the upper and, inside the boundary bucket, the lower 16 bits
  int64_t surveyed_ = 0, wanted_ = 0, before_bucket_ = 0;
  uint32_t bucket_ = 0;
};

}  // namespace espalier
