#include "espalier/engine/attention/page_masks.h"

#include <algorithm>
#include <bit>

namespace espalier {
namespace {

// The lowest n bits.
uint64_t low(int64_t n) { return n <= 0 ? 0 : n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

template <typename Bits>
uint64_t look_up(const KvPage& page, const int32_t* positions, const Bits& bits) {
  if (page.consecutive) return bits(page.base);
  uint64_t mask = 0;
  for (uint64_t left = page.alive; left != 0; left &= left - 1) {
    const int slot = std::countr_zero(left);
    mask |= (bits(positions[slot]) & 1) << slot;
  }
  return mask;
}

}  // namespace

uint64_t slots_between(const KvPage& page, const int32_t* positions, int64_t from, int64_t to) {
  if (page.consecutive) return low(to - page.base) & ~low(from - page.base);
  uint64_t mask = 0;
  for (uint64_t left = page.alive; left != 0; left &= left - 1) {
    const int slot = std::countr_zero(left);
    mask |= static_cast<uint64_t>(positions[slot] >= from && positions[slot] < to) << slot;
  }
  return mask;
}

uint64_t PageMasks::fill(const KvPage& page, const int32_t* positions, const int32_t* rows, int64_t count, uint64_t* masks) const {
  const int64_t first = rows[0], last = rows[count - 1], window = selection_.window;
  if (page.alive == 0 || page.first > last || (model_window_ > 0 && page.last <= first - model_window_)) return 0;
  const uint64_t base = bits_.none_excluded() ? page.alive : page.alive & ~look_up(page, positions, [&](int64_t p) { return bits_.excluded(p); });
  const uint64_t chosen = bits_.all() ? base : base & look_up(page, positions, [&](int64_t p) { return bits_.chosen(p); });
  const bool windowed = window > 0 && chosen != base;
  if (chosen == 0 && (!windowed || page.last <= first - window)) return 0;
  const bool past = page.last <= first, inside_model = model_window_ == 0 || page.first > last - model_window_;
  const bool in_window = windowed && page.first > last - window, out_of_window = !windowed || page.last <= first - window;
  if (past && inside_model && (in_window || out_of_window)) {
    const uint64_t mask = in_window ? base : chosen;
    std::fill_n(masks, count, mask);
    return mask;
  }
  uint64_t seen = 0;
  for (int64_t r = 0; r < count; ++r) {
    if (r > 0 && rows[r] == rows[r - 1]) {
      masks[r] = masks[r - 1];
      continue;
    }
    const int64_t q = rows[r], oldest = model_window_ > 0 ? q - model_window_ + 1 : 0;
    const uint64_t near = windowed ? base & slots_between(page, positions, q - window + 1, q + 1) : 0;
    masks[r] = slots_between(page, positions, oldest, q + 1) & (chosen | near);
    seen |= masks[r];
  }
  return seen;
}

uint64_t PageMasks::split_sinks(const KvPage& page, const int32_t* positions, const int32_t* rows, int64_t count, uint64_t* masks,
                                uint64_t* sinks) const {
  if (page.first >= selection_.sink) return 0;
  uint64_t seen = 0;
  for (int64_t r = 0; r < count; ++r) {
    const int64_t end = std::min<int64_t>(selection_.sink, rows[r] - selection_.window + 1);
    sinks[r] = end <= 0 ? 0 : masks[r] & slots_between(page, positions, 0, end);
    masks[r] &= ~sinks[r];
    seen |= sinks[r];
  }
  return seen;
}

uint64_t PageMasks::split_far(const NearRegion& near, const KvPage& page, const int32_t* positions, const int32_t* rows, int64_t count,
                              uint64_t* masks, uint64_t* far) {
  const uint64_t sinks = slots_between(page, positions, 0, near.sink);
  uint64_t seen = 0;
  for (int64_t r = 0; r < count; ++r) {
    const bool same = r > 0 && rows[r] == rows[r - 1];
    far[r] = same ? far[r - 1] : masks[r] & ~(sinks | slots_between(page, positions, near.first(rows[r]), rows[r] + 1));
    masks[r] &= ~far[r];
    seen |= far[r];
  }
  return seen;
}

}  // namespace espalier
