// Keys and values of one sequence, ragged: every layer and KV head has its own pages, tokens and positions.
//
// A page holds up to `page` tokens and may have holes. Where a page was dropped its place stays empty, so that with
// append-only heads page i always holds the tokens i · page …. Memory of dropped pages is really given back.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "espalier/engine/attention/kv_codec.h"

namespace espalier {

class PagePool;

enum class KeyForm : uint8_t {
  kRotated,  // by their own positions, before they are stored
  kRaw,      // as projected: rotated when they are read, by stored positions or by others
};
enum class Tier : uint8_t { kFast, kSlow };

struct KvCacheOptions {
  KvCodec codec = KvCodec::kF32;
  KeyForm keys = KeyForm::kRotated;
  KeyBits key_bits;          // keys in bit planes instead of the codec's form
  int64_t page = 32;         // tokens, a power of two up to 64
  int64_t extra = 0;         // floats of a policy's own state a token; 0 for a new token
  bool rows = false;         // each token in one place (kv_codec.h)
  bool own_pools = false;    // a layer shares no memory with others: what is moved to the slow tier or dropped can be returned
  std::string slow_directory;  // an unnamed file there holds the slow tier's pages; empty: memory of its own does
  bool reuse_slots = false;  // a new token goes into the first hole (a ring, where the oldest token is always dropped)
};

struct KvPage {
  std::byte* memory = nullptr;  // null: dropped
  uint64_t alive = 0;           // slots with a token
  int32_t used = 0;             // slots from here on were never filled
  int32_t first = 0, last = 0;  // smallest and largest position of the live tokens
  bool keys = true;             // false: dropped, `memory` is where the page would begin with them
  bool consecutive = true;      // the token of slot s has position base + s
  int32_t base = 0;
  Tier tier = Tier::kFast;
};

struct KvHead {
  std::vector<KvPage> pages;
  int64_t tokens = 0;                // that live
  std::vector<std::byte*> reserved;  // pages for appends to come
};

class PagedKvCache {
 public:
  PagedKvCache(std::span<const AttentionLayer> layers, const KvCacheOptions& options);
  ~PagedKvCache();
  PagedKvCache(const PagedKvCache&) = delete;

  const KvCacheOptions& options() const { return options_; }
  int64_t layers() const { return static_cast<int64_t>(heads_.size()); }
  int64_t kv_heads(int64_t layer) const { return static_cast<int64_t>(heads_[static_cast<size_t>(layer)].size()); }
  const KvHead& head(int64_t layer, int64_t g) const { return heads_[static_cast<size_t>(layer)][static_cast<size_t>(g)]; }
  const KvLayout& layout(int64_t layer) const { return layouts_[static_cast<size_t>(layer)]; }

  // Makes `tokens` appends possible without allocation. Not beside any other call.
  void reserve(int64_t layer, int64_t g, int64_t tokens);
  // Heads may be appended to from several threads, each head from one. key in the form of options().keys.
  void append(int64_t layer, int64_t g, int64_t position, const float* key, const float* value);

  // Drops; not beside any other call. A page without tokens is freed by the next trim(); until then appends may use it.
  void drop_slot(int64_t layer, int64_t g, int64_t page, int64_t slot);
  void drop_page(int64_t layer, int64_t g, int64_t page);
  bool drop_token(int64_t layer, int64_t g, int64_t position);  // false: there is none
  void drop_between(int64_t layer, int64_t g, int64_t begin, int64_t end);  // positions
  // Gives back the memory of a full page's keys; its values stay. Not where slots are reused.
  void drop_keys(int64_t layer, int64_t g, int64_t page);
  // Moves tokens of later pages into holes, in order, until as few pages are used as the tokens need.
  void compact(int64_t layer, int64_t g);
  // Gives the memory of dropped pages back to the system; with `reserved` also that of reserved pages, which happens
  // anyway after drops.
  void trim(bool reserved);
  void move_page(int64_t layer, int64_t g, int64_t page, Tier tier);

  int32_t position(int64_t layer, const KvPage& page, int64_t slot) const;
  const int32_t* positions(int64_t layer, const KvPage& page) const;
  // State i of the page's slots.
  float* extra(int64_t layer, const KvPage& page, int64_t i) const;
  // Positions of the live tokens, ascending.
  std::vector<int64_t> token_positions(int64_t layer, int64_t g) const;

  uint64_t bytes(Tier tier) const;   // of pages, reserved ones included, and what a policy holds beside them
  uint64_t mapped_bytes(Tier tier) const;  // that the system has given for pages
  uint64_t bytes() const { return bytes(Tier::kFast) + bytes(Tier::kSlow); }
  void set_policy_bytes(uint64_t bytes) { policy_bytes_ = bytes; }  // of keys in forms of a policy's own, in fast memory
  uint64_t moved_bytes(Tier to) const { return moved_[static_cast<size_t>(to)]; }

 private:
  KvHead& at(int64_t layer, int64_t g) { return heads_[static_cast<size_t>(layer)][static_cast<size_t>(g)]; }
  PagePool& pool(int64_t layer, Tier tier) const;
  KvPage& page_for_append(KvHead& head, int64_t layer, int64_t& slot) const;
  void refresh(int64_t layer, KvPage& page) const;
  void free_page(int64_t layer, KvHead& head, KvPage& page);
  PagePool& keyless_pool(int64_t layer);
  void shorten(KvHead& head) const;

  KvCacheOptions options_;
  std::vector<KvLayout> layouts_;                             // by layer
  std::vector<std::vector<KvHead>> heads_;                    // by layer and head
  std::vector<std::unique_ptr<PagePool>> pools_;              // fast and slow for each page size
  std::vector<size_t> pool_of_;                               // of the layer: index of its fast pool
  std::map<size_t, std::unique_ptr<PagePool>> keyless_pools_;  // by bytes
  uint64_t policy_bytes_ = 0;
  bool released_ = false;                                     // dropped pages lie among the reserved ones
  uint64_t moved_[2] = {0, 0};
};

}  // namespace espalier
