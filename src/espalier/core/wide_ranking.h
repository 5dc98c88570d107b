// core/ranking.h for fp64 scores: those whose differences fp32 would round away, over several tensors ranked together.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

namespace espalier {

// A removal: every entry below `threshold`, and the first `ties` entries equal to it. The default removes nothing.
struct WideCut {
  double threshold = -std::numeric_limits<double>::infinity();
  int64_t ties = 0;
};

// The cut that removes exactly the k smallest; reorders the scores. No score may be NaN.
WideCut find_wide_cut(std::span<double> scores, int64_t k);

// Clears keep[i] where the cut removes entry i and leaves the rest of keep alone; returns how many it removed.
// Uses up cut.ties, so that one cut can be applied to consecutive pieces of a longer sequence.
int64_t apply_wide_cut(WideCut& cut, std::span<const double> scores, std::span<uint8_t> keep);

}  // namespace espalier
