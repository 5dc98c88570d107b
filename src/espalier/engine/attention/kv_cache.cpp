#include "espalier/engine/attention/kv_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/engine/attention/page_pool.h"
#include "espalier/engine/attention/slab_file.h"

namespace espalier {
namespace {

uint64_t bit(int64_t slot) { return uint64_t{1} << slot; }

}  // namespace

PagedKvCache::PagedKvCache(std::span<const AttentionLayer> layers, const KvCacheOptions& options) : options_(options) {
  const auto slow_file = options.slow_directory.empty() ? nullptr : std::make_shared<SlabFile>(options.slow_directory);
  for (const AttentionLayer& layer : layers) {
    layouts_.push_back(make_layout(options.codec, options.page, layer.head_size, options.extra, options.key_bits, options.rows));
    heads_.emplace_back(static_cast<size_t>(layer.kv_heads));
    const size_t bytes = (layouts_.back().page_bytes + 63) / 64 * 64;
    size_t at = options.own_pools ? pools_.size() : 0;
    while (at < pools_.size() && pools_[at]->page_bytes() != bytes) at += 2;
    if (at == pools_.size())
      for (const auto& file : {std::shared_ptr<SlabFile>(), slow_file}) pools_.push_back(std::make_unique<PagePool>(bytes, file));
    pool_of_.push_back(at);
  }
}

PagedKvCache::~PagedKvCache() = default;

PagePool& PagedKvCache::pool(int64_t layer, Tier tier) const { return *pools_[pool_of_[static_cast<size_t>(layer)] + static_cast<size_t>(tier)]; }

void PagedKvCache::reserve(int64_t layer, int64_t g, int64_t tokens) {
  KvHead& head = at(layer, g);
  int64_t room = static_cast<int64_t>(head.reserved.size()) * options_.page;
  if (options_.reuse_slots) {
    for (const KvPage& page : head.pages)
      if (page.memory != nullptr) room += options_.page - std::popcount(page.alive);
  } else if (!head.pages.empty() && head.pages.back().memory != nullptr) {
    room += options_.page - head.pages.back().used;
  }
  while (room < tokens) {
    head.reserved.push_back(pool(layer, Tier::kFast).take());
    room += options_.page;
  }
  const size_t most = head.pages.size() + head.reserved.size();
  if (head.pages.capacity() < most) head.pages.reserve(std::max(most, 2 * head.pages.capacity()));
}

KvPage& PagedKvCache::page_for_append(KvHead& head, int64_t layer, int64_t& slot) const {
  if (options_.reuse_slots) {
    const uint64_t all = options_.page == 64 ? ~uint64_t{0} : bit(options_.page) - 1;
    for (KvPage& page : head.pages) {
      if (page.memory == nullptr || page.alive == all) continue;
      slot = std::countr_one(page.alive);
      return page;
    }
  } else if (!head.pages.empty() && head.pages.back().memory != nullptr && head.pages.back().used < options_.page) {
    slot = head.pages.back().used;
    return head.pages.back();
  }
  ESP_ASSERT(!head.reserved.empty(), "layer {}: no page was reserved for the token", layer);
  KvPage page;
  page.memory = head.reserved.back();
  head.reserved.pop_back();
  head.pages.push_back(page);
  slot = 0;
  return head.pages.back();
}

void PagedKvCache::append(int64_t layer, int64_t g, int64_t position, const float* key, const float* value) {
  KvHead& head = at(layer, g);
  const KvLayout& l = layout(layer);
  int64_t slot = 0;
  KvPage& page = page_for_append(head, layer, slot);
  const KvCodecOps& ops = codec_ops(l.codec);
  write_key(l, page.memory, slot, key);
  ops.write_value(l, page.memory, slot, value);
  const auto p = static_cast<int32_t>(position), base = static_cast<int32_t>(position - slot);
  reinterpret_cast<int32_t*>(page.memory + l.positions)[slot] = p;
  for (int64_t i = 0; i < l.extra; ++i) extra(layer, page, i)[slot] = 0;
  const bool first = page.alive == 0;
  page.consecutive = first || (page.consecutive && page.base == base);
  page.base = first ? base : page.base;
  page.first = first ? p : std::min(page.first, p);
  page.last = first ? p : std::max(page.last, p);
  page.alive |= bit(slot);
  page.used = std::max(page.used, static_cast<int32_t>(slot) + 1);
  ++head.tokens;
}

// Appends of the same forward may count on the page; trim() frees it.
void PagedKvCache::free_page(int64_t layer, KvHead& head, KvPage& page) {
  if (!page.keys) {
    keyless_pool(layer).give(page.memory + layout(layer).values);
  } else if (page.tier == Tier::kFast) {
    std::memset(page.memory, 0, layout(layer).page_bytes);
    head.reserved.push_back(page.memory);
    released_ = true;
  } else {
    pool(layer, page.tier).give(page.memory);
  }
  page = KvPage{};
}

// Empty places at the end mean nothing where slots are reused; elsewhere they keep page numbers aligned with positions.
void PagedKvCache::shorten(KvHead& head) const {
  if (!options_.reuse_slots) return;
  std::erase_if(head.pages, [](const KvPage& page) { return page.memory == nullptr; });
}

void PagedKvCache::refresh(int64_t layer, KvPage& page) const {
  bool first = true;
  for (uint64_t left = page.alive; left != 0; left &= left - 1) {
    const int32_t p = position(layer, page, std::countr_zero(left));
    page.first = first ? p : std::min(page.first, p);
    page.last = first ? p : std::max(page.last, p);
    first = false;
  }
}

void PagedKvCache::drop_slot(int64_t layer, int64_t g, int64_t index, int64_t slot) {
  KvHead& head = at(layer, g);
  KvPage& page = head.pages[static_cast<size_t>(index)];
  ESP_ASSERT(page.memory != nullptr && (page.alive & bit(slot)) != 0);
  page.alive &= ~bit(slot);
  --head.tokens;
  // A page that tokens will still be appended to stays.
  const bool open = !options_.reuse_slots && page.used < options_.page;
  if (page.alive != 0) return refresh(layer, page);
  if (!open) free_page(layer, head, page);
}

void PagedKvCache::drop_page(int64_t layer, int64_t g, int64_t index) {
  KvHead& head = at(layer, g);
  KvPage& page = head.pages[static_cast<size_t>(index)];
  if (page.memory == nullptr) return;
  head.tokens -= std::popcount(page.alive);
  page.alive = 0;
  if (options_.reuse_slots || page.used == options_.page) free_page(layer, head, page);
}

bool PagedKvCache::drop_token(int64_t layer, int64_t g, int64_t token) {
  const KvHead& head = at(layer, g);
  for (size_t i = 0; i < head.pages.size(); ++i) {
    const KvPage& page = head.pages[i];
    if (page.memory == nullptr || page.alive == 0 || token < page.first || token > page.last) continue;
    for (uint64_t left = page.alive; left != 0; left &= left - 1) {
      const int64_t slot = std::countr_zero(left);
      if (position(layer, page, slot) != token) continue;
      drop_slot(layer, g, static_cast<int64_t>(i), slot);
      return true;
    }
  }
  return false;
}

void PagedKvCache::drop_between(int64_t layer, int64_t g, int64_t begin, int64_t end) {
  KvHead& head = at(layer, g);
  for (size_t i = 0; i < head.pages.size(); ++i) {
    KvPage& page = head.pages[i];
    if (page.memory == nullptr || page.alive == 0 || page.last < begin || page.first >= end) continue;
    if (page.first >= begin && page.last < end) {
      drop_page(layer, g, static_cast<int64_t>(i));
      continue;
    }
    for (uint64_t left = page.alive; left != 0; left &= left - 1) {
      const int64_t slot = std::countr_zero(left), p = position(layer, page, slot);
      if (p < begin || p >= end) continue;
      page.alive &= ~bit(slot);
      --head.tokens;
    }
    refresh(layer, page);
  }
  shorten(head);
}

PagePool& PagedKvCache::keyless_pool(int64_t layer) {
  const size_t bytes = layout(layer).page_bytes - layout(layer).values;
  auto& pool = keyless_pools_[bytes];
  if (pool == nullptr) pool = std::make_unique<PagePool>(bytes);
  return *pool;
}

// Keys come first in a page, so that everything else keeps its offset.
void PagedKvCache::drop_keys(int64_t layer, int64_t g, int64_t index) {
  KvPage& page = at(layer, g).pages[static_cast<size_t>(index)];
  if (page.memory == nullptr || !page.keys) return;
  ESP_ASSERT(!options_.reuse_slots && !options_.rows && page.used == options_.page && page.tier == Tier::kFast, "page {}", index);
  const KvLayout& l = layout(layer);
  std::byte* memory = keyless_pool(layer).take();
  std::memcpy(memory, page.memory + l.values, l.page_bytes - l.values);
  pool(layer, Tier::kFast).give(page.memory);
  page.memory = memory - l.values, page.keys = false;
}

void PagedKvCache::compact(int64_t layer, int64_t g) {
  KvHead& head = at(layer, g);
  for (const KvPage& page : head.pages) ESP_ASSERT(page.keys);
  const KvLayout& l = layout(layer);
  size_t to = 0;
  int64_t to_slot = 0;
  for (size_t from = 0; from < head.pages.size(); ++from) {
    if (head.pages[from].memory == nullptr) continue;
    for (uint64_t left = head.pages[from].alive; left != 0; left &= left - 1) {
      const int64_t slot = std::countr_zero(left);
      if (to_slot == options_.page) ++to, to_slot = 0;
      while (head.pages[to].memory == nullptr) ++to;
      if (to != from || to_slot != slot) copy_token(l, head.pages[from].memory, slot, head.pages[to].memory, to_slot);
      ++to_slot;
    }
  }
  int64_t tokens = head.tokens;
  for (KvPage& page : head.pages) {
    if (page.memory == nullptr) continue;
    const int64_t here = std::min(tokens, options_.page);
    tokens -= here;
    if (here == 0) {
      free_page(layer, head, page);
      continue;
    }
    page.alive = here == 64 ? ~uint64_t{0} : bit(here) - 1;
    page.used = static_cast<int32_t>(here);
    page.base = position(layer, page, 0);
    page.consecutive = true;
    for (int64_t s = 0; s < here; ++s) page.consecutive &= position(layer, page, s) == page.base + s;
    refresh(layer, page);
  }
  std::erase_if(head.pages, [](const KvPage& page) { return page.memory == nullptr; });
}

void PagedKvCache::trim(bool reserved) {
  for (int64_t layer = 0; (reserved || released_) && layer < layers(); ++layer)
    for (KvHead& head : heads_[static_cast<size_t>(layer)]) {
      for (std::byte* page : head.reserved) pool(layer, Tier::kFast).give(page);
      head.reserved.clear();
    }
  released_ = false;
  for (const auto& pages : pools_) pages->trim();
  for (const auto& [bytes, pages] : keyless_pools_) pages->trim();
}

void PagedKvCache::move_page(int64_t layer, int64_t g, int64_t index, Tier tier) {
  KvPage& page = at(layer, g).pages[static_cast<size_t>(index)];
  if (page.memory == nullptr || page.tier == tier) return;
  ESP_ASSERT(page.keys);
  std::byte* memory = pool(layer, tier).take();
  std::memcpy(memory, page.memory, layout(layer).page_bytes);
  pool(layer, page.tier).give(page.memory);
  page.memory = memory, page.tier = tier;
  moved_[static_cast<size_t>(tier)] += layout(layer).page_bytes;
}

const int32_t* PagedKvCache::positions(int64_t layer, const KvPage& page) const {
  return reinterpret_cast<const int32_t*>(page.memory + layout(layer).positions);
}
int32_t PagedKvCache::position(int64_t layer, const KvPage& page, int64_t slot) const { return positions(layer, page)[slot]; }

float* PagedKvCache::extra(int64_t layer, const KvPage& page, int64_t i) const {
  const KvLayout& l = layout(layer);
  return reinterpret_cast<float*>(page.memory + l.extras) + i * l.slots;
}

std::vector<int64_t> PagedKvCache::token_positions(int64_t layer, int64_t g) const {
  std::vector<int64_t> list;
  for (const KvPage& page : head(layer, g).pages)
    for (uint64_t left = page.alive; left != 0; left &= left - 1) list.push_back(position(layer, page, std::countr_zero(left)));
  std::sort(list.begin(), list.end());
  return list;
}

uint64_t PagedKvCache::mapped_bytes(Tier tier) const {
  uint64_t sum = 0;
  for (size_t i = static_cast<size_t>(tier); i < pools_.size(); i += 2) sum += pools_[i]->reserved_bytes();
  return sum;
}

uint64_t PagedKvCache::bytes(Tier tier) const {
  uint64_t sum = tier == Tier::kFast ? policy_bytes_ : 0;
  if (tier == Tier::kFast)
    for (const auto& [bytes, pages] : keyless_pools_) sum += pages->taken_bytes();
  for (size_t i = static_cast<size_t>(tier); i < pools_.size(); i += 2) sum += pools_[i]->taken_bytes();
  return sum;
}

}  // namespace espalier
