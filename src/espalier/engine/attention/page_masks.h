// Which slots of a page each query row sees.
#pragma once

#include <cstdint>

#include "espalier/engine/attention/far_keys.h"
#include "espalier/engine/attention/kv_cache.h"
#include "espalier/engine/attention/selection.h"

namespace espalier {

class PageMasks {
 public:
  // model_window: of the layer itself, 0: none. The arguments must outlive the object.
  PageMasks(const Selection& selection, const SelectionBits& bits, int64_t model_window)
      : selection_(selection), bits_(bits), model_window_(model_window) {}

  const Selection& selection() const { return selection_; }
  bool all() const { return bits_.all(); }
  // Without looking at rows: false where nothing that was selected is on the page.
  bool may_read(const KvPage& page) const {
    if (bits_.all() || selection_.window > 0 || !page.consecutive) return true;
    return (bits_.chosen(page.base) & page.alive) != 0;
  }
  // masks[r] for rows at the given non-decreasing positions. Returns all masks or-ed together; 0: the page is not read.
  uint64_t fill(const KvPage& page, const int32_t* positions, const int32_t* rows, int64_t count, uint64_t* masks) const;
  // Of the same, those keys that a row sees as sinks alone, beyond its window; they are taken out of masks.
  uint64_t split_sinks(const KvPage& page, const int32_t* positions, const int32_t* rows, int64_t count, uint64_t* masks,
                       uint64_t* sinks) const;
  // Those keys that are not near to a row; they are taken out of masks.
  static uint64_t split_far(const NearRegion& near, const KvPage& page, const int32_t* positions, const int32_t* rows, int64_t count,
                            uint64_t* masks, uint64_t* far);

 private:
  const Selection& selection_;
  const SelectionBits& bits_;
  int64_t model_window_;
};

// Slots of the page, live or not, with a position in [from, to).
uint64_t slots_between(const KvPage& page, const int32_t* positions, int64_t from, int64_t to);

}  // namespace espalier
