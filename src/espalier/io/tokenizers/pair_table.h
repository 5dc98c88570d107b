// From a pair of token ids to the merge that joins them. Open addressing: the lookup is the inner step of BPE.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace espalier::tok {

struct Merge {
  int32_t rank = -1;  // the lowest is done first; -1: no merge
  int32_t id = -1;    // of the joined token
};

class PairTable {
 public:
  explicit PairTable(size_t pairs) : slots_(std::bit_ceil(pairs * 2 + 2)) {}

  // The last of several merges of one pair counts.
  void set(int32_t left, int32_t right, Merge merge) {
    const uint64_t key = key_of(left, right);
    Slot& slot = slots_[index_of(key)];
    slot = {key, merge};
  }
  Merge find(int32_t left, int32_t right) const { return slots_[index_of(key_of(left, right))].merge; }

 private:
  struct Slot {
    uint64_t key = UINT64_MAX;  // no pair of ids: ids are not negative
    Merge merge;
  };
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // The slot of the key, or the free one where it belongs. At most half of the slots are in use.
  size_t index_of(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    uint64_t mixed = key * 0x9e3779b97f4a7c15ULL;
    size_t at = static_cast<size_t>(mixed ^ mixed >> 32) & mask;
    while (slots_[at].key != key && slots_[at].key != UINT64_MAX) at = (at + 1) & mask;
    return at;
  }

  std::vector<Slot> slots_;
};

}  // namespace espalier::tok
