// Which stored keys a query block reads: the one type that policies answer with, kernels obey and the laboratory's
// reference masks by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace espalier {

// A query at position i sees a stored key at position j ≤ i that is not excluded when
//   kind is kAll, or floor(j / block) is in ids (kBlocks), or j is in ids (kTokens),
//   or j < sink, or i - j < window.
// Each key counts once however many of these hold. The model's own window cuts off whatever it leaves behind.
struct Selection {
  enum class Kind : uint8_t { kAll, kBlocks, kTokens };
  enum class Positions : uint8_t {
    kTrue,
    kCache,   // as if the keys lay side by side in the cache (StreamingLLM): for ids-free selections of sink and window
    kPacked,  // as if the blocks of ids lay side by side, the query in the last of them (LongHeads): no sink, no window
  };
  Kind kind = Kind::kAll;
  Positions positions = Positions::kTrue;
  int64_t block = 32;            // tokens of a block
  std::vector<int32_t> ids;      // ascending
  std::vector<int32_t> exclude;  // positions, ascending
  int64_t sink = 0, window = 0;  // the window counts the query's own token
};

// The row-independent part of a selection, by position: for looking up pages.
class SelectionBits {
 public:
  void reserve(int64_t positions);  // no allocation up to so many
  void set(const Selection& selection, int64_t positions);
  bool all() const { return all_; }
  bool none_excluded() const { return none_excluded_; }
  // Bits of positions base … base + 63; base > -64.
  uint64_t chosen(int64_t base) const { return all_ ? ~uint64_t{0} : word(chosen_, base); }
  uint64_t excluded(int64_t base) const { return none_excluded_ ? 0 : word(excluded_, base); }

 private:
  static uint64_t word(const std::vector<uint64_t>& bits, int64_t base) {
    // A page whose first slots were used before may start before position 0 by its numbering.
    if (base < 0) return bits[0] << -base;
    const size_t at = static_cast<size_t>(base) / 64;
    const int64_t shift = base % 64;
    return shift == 0 ? bits[at] : bits[at] >> shift | bits[at + 1] << (64 - shift);
  }
  std::vector<uint64_t> chosen_, excluded_;
  bool all_ = true, none_excluded_ = true;  // the words are not filled then
};

}  // namespace espalier
