#include "espalier/engine/attention/selection.h"

#include <algorithm>

namespace espalier {
namespace {

// Two words more, so that reading 64 bits from any position stays inside.
size_t words(int64_t positions) { return static_cast<size_t>(positions) / 64 + 2; }

void set_range(std::vector<uint64_t>& bits, int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end;) {
    const int64_t in_word = p % 64, count = std::min<int64_t>(64 - in_word, end - p);
    const uint64_t run = count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
    bits[static_cast<size_t>(p) / 64] |= run << in_word;
    p += count;
  }
}

}  // namespace

void SelectionBits::reserve(int64_t positions) {
  chosen_.reserve(words(positions));
  excluded_.reserve(words(positions));
}

void SelectionBits::set(const Selection& selection, int64_t positions) {
  all_ = selection.kind == Selection::Kind::kAll;
  none_excluded_ = selection.exclude.empty();
  if (!none_excluded_) {
    excluded_.assign(words(positions), 0);
    for (const int64_t p : selection.exclude)
      if (p < positions) set_range(excluded_, p, p + 1);
  }
  if (all_) return;
  chosen_.assign(words(positions), 0);
  const int64_t block = selection.kind == Selection::Kind::kBlocks ? selection.block : 1;
  for (const int64_t id : selection.ids)
    if (id * block < positions) set_range(chosen_, id * block, std::min(positions, (id + 1) * block));
  set_range(chosen_, 0, std::min(positions, selection.sink));
}

}  // namespace espalier
