// Which token lies in which slot of a buffer that follows a set of tokens from step to step: what stays in the set keeps its
// slot, so that only the difference is moved.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace espalier {

struct SlotChange {
  std::vector<int32_t> load, evict;  // tokens, ascending
  std::vector<int32_t> load_slots;   // of the loaded ones
};

class ElasticSlots {
 public:
  // Tokens are below `positions`.
  ElasticSlots(int64_t slots, int64_t positions) : ElasticSlots(std::vector<int32_t>(static_cast<size_t>(slots), -1), positions) {}
  ElasticSlots(std::vector<int32_t> token_of, int64_t positions);

  // now: ascending, at most as many as there are slots. Free slots, ascending, take the loads. `change` keeps its memory.
  void update(std::span<const int32_t> now, SlotChange& change);

  std::span<const int32_t> tokens() const { return token_of_; }     // by slot; -1: free
  const std::vector<int32_t>& slots() const { return slot_of_; }    // by token; -1: in none

 private:
  std::vector<int32_t> token_of_, slot_of_;
  std::vector<uint32_t> wanted_;  // by token: the last update that asked for it
  uint32_t updates_ = 0;
};

}  // namespace espalier
