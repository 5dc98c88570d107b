#include "espalier/engine/attention/policies/elastic_slots.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {

ElasticSlots::ElasticSlots(std::vector<int32_t> token_of, int64_t positions) : token_of_(std::move(token_of)), slot_of_(static_cast<size_t>(positions), -1),
      wanted_(static_cast<size_t>(positions), 0) {
  for (size_t slot = 0; slot < token_of_.size(); ++slot)
    if (token_of_[slot] >= 0) slot_of_[static_cast<size_t>(token_of_[slot])] = static_cast<int32_t>(slot);
}

void ElasticSlots::update(std::span<const int32_t> now, SlotChange& change) {
  ESP_ASSERT(now.size() <= token_of_.size());
  change.load.clear(), change.evict.clear(), change.load_slots.clear();
  ++updates_;
  for (const int32_t token : now) {
    wanted_[static_cast<size_t>(token)] = updates_;
    if (slot_of_[static_cast<size_t>(token)] < 0) change.load.push_back(token);
  }
  for (int32_t& token : token_of_) {
    if (token < 0 || wanted_[static_cast<size_t>(token)] == updates_) continue;
    change.evict.push_back(token);
    slot_of_[static_cast<size_t>(token)] = -1;
    token = -1;
  }
  std::sort(change.evict.begin(), change.evict.end());
  size_t slot = 0;
  for (const int32_t token : change.load) {
    while (token_of_[slot] >= 0) ++slot;
    token_of_[slot] = token;
    slot_of_[static_cast<size_t>(token)] = static_cast<int32_t>(slot);
    change.load_slots.push_back(static_cast<int32_t>(slot));
  }
}

}  // namespace espalier
