#include "espalier/engine/attention/block_attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/engine/simd.h"

namespace espalier {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr size_t kLine = 64 / sizeof(float);

// Room of kLine floats more lets it begin at a cache line.
float* aligned(std::vector<float>& list) { return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(list.data()) + 63) / 64 * 64); }

int64_t next_page(const KvHead& head, int64_t page, int64_t end) {
  do ++page;
  while (page < end && head.pages[static_cast<size_t>(page)].alive == 0);
  return page;
}

// Passes over pages with nothing that was selected, so that what is read after them is asked for in time.
int64_t next_read(const KvHead& head, const PageMasks& masks, int64_t page, int64_t end) {
  do page = next_page(head, page, end);
  while (page < end && !masks.may_read(head.pages[static_cast<size_t>(page)]));
  return page;
}

const std::byte* memory_of(const KvHead& head, int64_t page) {
  const KvPage& at = head.pages[static_cast<size_t>(page)];
  return at.alive != 0 ? at.memory : nullptr;
}

// What to ask memory for while the page before `next` is worked on; null: nothing. Where all is read, one page beyond the next,
// also behind the end, where a thread mostly goes on, or in the head that it takes next: a page takes less time than memory
// takes to answer.
const std::byte* to_fetch(const PageList& pages, const PageMasks& masks, int64_t next) {
  const KvHead& head = pages.cache->head(pages.layer, pages.kv_head);
  if (!masks.all()) return next < pages.end && masks.may_read(head.pages[static_cast<size_t>(next)]) ? memory_of(head, next) : nullptr;
  const int64_t at = next + 1, beyond = at - static_cast<int64_t>(head.pages.size());
  if (beyond < 0) return memory_of(head, at);
  if (pages.next_kv_head < 0) return nullptr;
  const KvHead& other = pages.cache->head(pages.layer, pages.next_kv_head);
  return beyond < static_cast<int64_t>(other.pages.size()) ? memory_of(other, beyond) : nullptr;
}

// The softmax reads no memory: meanwhile comes what would be asked for in a hurry behind it. More than this at once is lost.
constexpr int64_t kAtOnce = 64 * 64;

void ask_for_values(const KvBlock& b, int64_t begin) {
  if (b.ahead == 0) return;
  const int64_t end = std::min(b.value_bytes / 2, begin + kAtOnce);
  for (int64_t i = begin; i < end; i += 64) __builtin_prefetch(b.values + b.ahead + i, 0, 2);
}

uint64_t pairs_of(const uint64_t* masks, int64_t count) {
  uint64_t sum = 0;
  for (int64_t r = 0; r < count; ++r) sum += static_cast<uint64_t>(std::popcount(masks[r]));
  return sum;
}

}  // namespace

BlockCounts& BlockCounts::operator+=(const BlockCounts& other) {
  pairs += other.pairs, value_pairs += other.value_pairs, key_multiplies += other.key_multiplies, fast_bytes += other.fast_bytes, slow_bytes += other.slow_bytes;
  return *this;
}

void BlockRows::reserve(int64_t width) {
  const auto rows = static_cast<size_t>(kBlockRows), floats = rows * static_cast<size_t>(width);
  for (auto* list : {&q_, &sink_q_, &out_}) list->resize(floats);
  for (auto* list : {&maximum_, &sum_, &log_sum_}) list->resize(rows);
  scores_.resize(rows * kScoreStride);
  for (auto* list : {&key_tile_, &value_tile_}) list->resize(static_cast<size_t>(width) * kMaxPageTokens + kLine);
  gather_ = row_gather(simd_level());
  row_.resize(static_cast<size_t>(width));
  for (auto* list : {&prepared_q_, &prepared_sink_q_}) list->resize(rows * static_cast<size_t>(prepared_bytes(width)) / sizeof(float));
  positions_.resize(rows);
  for (auto* list : {&masks_, &sink_masks_}) list->resize(rows);
  for (auto* list : {&unheard_, &blind_, &hidden_, &flat_}) list->resize(rows);
}

void BlockRows::reserve_pages(int64_t pages) {
  const auto count = static_cast<size_t>(pages);
  if (seen_pages_.capacity() >= count) return;
  const size_t room = count + count / 4;
  seen_pages_.reserve(room), all_masks_.reserve(room * kBlockRows), all_scores_.reserve(room * kBlockRows * kScoreStride);
  ranking_.reserve(room * kMaxPageTokens);
}

void BlockRows::start(int64_t count, int64_t width) {
  ESP_ASSERT(count <= kBlockRows && static_cast<size_t>(width) <= row_.size());
  width_ = width, count_ = count;
  std::fill_n(out_.begin(), count * width, 0.0f);
  std::fill_n(sum_.begin(), count, 0.0f);
  std::fill_n(maximum_.begin(), count, kNothing);
  for (auto* list : {&unheard_, &blind_, &hidden_, &flat_}) std::fill_n(list->begin(), count, uint8_t{0});
}

bool BlockRows::in_tiles(const PageList& pages) const {
  return pages.cache->options().keys == KeyForm::kRaw || pages.cache->layout(pages.layer).bits.all() > 0;
}

// With the row's scale; a second look reads what the first one left.
size_t BlockRows::key_bytes(const KvLayout& l) const {
  if (l.bits.all() == 0 || (!coarse_ && !refined_)) return l.token_bytes - l.value_bytes;
  return coarse_ ? static_cast<size_t>(high_plane_bytes(l.bits, l.head_size)) + sizeof(float) : static_cast<size_t>(low_plane_bytes(l.bits, l.head_size));
}

uint64_t BlockRows::visible(const PageMasks& masks, const KvPage& page, const int32_t* positions, const std::vector<uint8_t>& hidden) {
  if (masks.fill(page, positions, positions_.data(), count_, masks_.data()) == 0) return 0;
  uint64_t seen = 0;
  for (int64_t r = 0; r < count_; ++r) {
    if (hidden[static_cast<size_t>(r)] != 0) masks_[static_cast<size_t>(r)] = 0;
    seen |= masks_[static_cast<size_t>(r)];
  }
  return seen;
}

// The page as fp32; raw keys are rotated by their positions.
void BlockRows::make_tile(const PageList& pages, const KvPage& page) {
  const KvLayout& l = pages.cache->layout(pages.layer);
  const KvCodecOps& ops = codec_ops(l.codec);
  std::fill_n(key_tile_.begin(), l.slots * l.width, 0.0f);
  std::fill_n(value_tile_.begin(), l.slots * l.width, 0.0f);
  for (uint64_t left = page.alive; left != 0; left &= left - 1) {
    const int64_t slot = std::countr_zero(left);
    if (coarse_) read_plane_key(l, page.memory, slot, true, row_.data());
    else read_key(l, page.memory, slot, row_.data());
    if (pages.cache->options().keys == KeyForm::kRaw) pages.rotation->rotate(pages.layer, pages.cache->position(pages.layer, page, slot), row_.data());
    for (int64_t c = 0; c < l.head_size; ++c) key_tile_[static_cast<size_t>(key_index(l.slots, 1, c, slot))] = row_[static_cast<size_t>(c)];
    ops.read_value(l, page.memory, slot, value_tile_.data() + slot * l.width);
  }
}

BlockRows::Step BlockRows::make_step(const PageList& pages, int64_t index, const std::byte* fetch, int64_t used) {
  const KvHead& head = pages.cache->head(pages.layer, pages.kv_head);
  const KvPage& page = head.pages[static_cast<size_t>(index)];
  const KvLayout& l = pages.cache->layout(pages.layer);
  KvBlock b;
  b.slots = l.slots, b.width = l.width, b.used = used, b.value_bytes = static_cast<int64_t>(l.slots * l.width) * 4 / codec_ops(l.codec).group;
  if (in_tiles(pages)) {
    make_tile(pages, page);
    b.keys = reinterpret_cast<const std::byte*>(key_tile_.data()), b.values = reinterpret_cast<const std::byte*>(value_tile_.data());
    return {b, pages.plain_kernels};
  }
  b.keys = page.memory, b.values = page.memory + l.values;
  if (codec_ops(l.codec).scaled) {
    b.key_scales = reinterpret_cast<const float*>(page.memory + l.key_scales);
    b.value_scales = reinterpret_cast<const float*>(page.memory + l.value_scales);
  }
  if (fetch != nullptr) {
    b.ahead = fetch - page.memory;
    // Kernels fetch what they stream; a scale that is missing at the end of a tile halts everything behind it.
    if (b.key_scales != nullptr)
      for (int64_t i = 0; i < l.slots; i += static_cast<int64_t>(kLine))
        for (const float* scales : {b.key_scales, b.value_scales}) __builtin_prefetch(reinterpret_cast<const std::byte*>(scales + i) + b.ahead, 0, 2);
  }
  return {b, pages.kernels};
}

void BlockRows::take_in(const Step& step, const float* q, const uint64_t* masks) {
  step.kernels->scores(step.block, q, count_, scores_.data());
  ask_for_values(step.block, 0);
  take_in_scores(step, masks);
}

void BlockRows::take_in_scores(const Step& step, const uint64_t* masks) {
  step.kernels->softmax(scores_.data(), masks, count_, step.block.used, width_, maximum_.data(), sum_.data(), out_.data());
  ask_for_values(step.block, kAtOnce);
  step.kernels->accumulate(step.block, scores_.data(), count_, out_.data());
}

// The queries as the kernel wants them.
const float* BlockRows::prepared(const PageList& pages, const std::vector<float>& q, std::vector<float>& target) const {
  if (in_tiles(pages) || pages.kernels->prepare == nullptr) return q.data();
  pages.kernels->prepare(q.data(), count_, width_, reinterpret_cast<std::byte*>(target.data()));
  return target.data();
}

// The queries as they stand to the keys of a packed block, into sink_q_, which packed blocks do not need otherwise.
void BlockRows::turn_to(const PageList& pages, const Selection& selection, int64_t block) {
  const int64_t size = selection.block;
  const bool all = selection.kind == Selection::Kind::kAll;
  const auto place = all ? block : std::lower_bound(selection.ids.begin(), selection.ids.end(), block) - selection.ids.begin();
  for (int64_t r = 0; r < count_; ++r) {
    const int64_t p = position(r), stands = all ? p : (static_cast<int64_t>(selection.ids.size()) - 1) * size + p % size;
    std::copy_n(q(r), width_, sink_q(r));
    // Rows before the block do not see it.
    pages.rotation->rotate(pages.layer, std::max<int64_t>(0, stands - place * size), sink_q(r));
  }
}

void BlockRows::start_far(const PageList& pages, FarRows& far) {
  if (pages.far == nullptr) return;
  far_running_.resize(kBlockRows);
  far_q_.resize(static_cast<size_t>(kBlockRows) * row_.size());
  std::fill_n(far_q_.begin(), kBlockRows * width_, 0.0f);
  for (int64_t r = 0; r < count_; ++r)
    for (int64_t c = 0; c < width_; ++c) far_q_[static_cast<size_t>(c * kBlockRows + r)] = q(r)[c];
  far.q = far_q_.data(), far.running = far_running_.data(), far.rows = count_;
}

uint64_t BlockRows::take_in_far(const PageList& pages, int64_t index, const std::byte* fetch, FarRows& far, BlockCounts& counts) {
  if (pages.far == nullptr) return 0;
  const KvPage& page = pages.cache->head(pages.layer, pages.kv_head).pages[static_cast<size_t>(index)];
  const int32_t* positions = pages.cache->positions(pages.layer, page);
  const uint64_t seen = PageMasks::split_far(pages.far->near_region(), page, positions, positions_.data(), count_, masks_.data(), sink_masks_.data());
  if (seen == 0) return 0;
  const FarCounts read = pages.far->scores(pages.layer, pages.kv_head, index, far, sink_masks_.data(), seen, scores_.data());
  take_in_scores(make_step(pages, index, fetch, std::bit_width(seen)), sink_masks_.data());
  const uint64_t pairs = pairs_of(sink_masks_.data(), count_);
  counts.pairs += pairs, counts.value_pairs += pairs, counts.key_multiplies += read.multiplies, counts.fast_bytes += read.bytes;
  return seen;
}

BlockCounts BlockRows::attend(const PageList& pages, const PageMasks& masks, bool separate_sinks) {
  coarse_ = refined_ = false;
  std::copy_n(blind_.begin(), count_, hidden_.begin());
  return pages.flat_below >= 0 ? attend_planes(pages, masks, separate_sinks) : attend_once(pages, masks, separate_sinks);
}

int64_t BlockRows::flat_rows() const { return std::count(flat_.begin(), flat_.begin() + count_, uint8_t{1}); }

BlockCounts BlockRows::attend_planes(const PageList& pages, const PageMasks& masks, bool separate_sinks) {
  coarse_ = true;
  BlockCounts counts = attend_once(pages, masks, separate_sinks);
  coarse_ = false;
  // The largest probability is exp(0) of the sum.
  for (int64_t r = 0; r < count_; ++r) flat_[static_cast<size_t>(r)] = sum(r) > 0 && 1.0 / static_cast<double>(sum(r)) < pages.flat_below;
  if (flat_rows() == 0) return counts;
  for (int64_t r = 0; r < count_; ++r) {
    hidden_[static_cast<size_t>(r)] = flat_[static_cast<size_t>(r)] == 0;
    if (flat_[static_cast<size_t>(r)] == 0) continue;
    std::fill_n(out_.begin() + r * width_, width_, 0.0f);
    sum_[static_cast<size_t>(r)] = 0, maximum_[static_cast<size_t>(r)] = kNothing;
  }
  refined_ = true;
  const BlockCounts again = attend_once(pages, masks, separate_sinks);
  refined_ = false;
  // The same keys and values, looked at twice.
  counts.key_multiplies += again.key_multiplies, counts.fast_bytes += again.fast_bytes, counts.slow_bytes += again.slow_bytes;
  return counts;
}

// The mask of a row keeps so many keys, or floor(share · visible), at least one: the largest scores, of equal ones the first.
uint64_t BlockRows::keep_largest(const PageList& pages) {
  uint64_t kept = 0;
  for (int64_t r = 0; r < count_; ++r) {
    ranking_.clear();
    for (size_t i = 0; i < seen_pages_.size(); ++i) {
      const size_t at = i * static_cast<size_t>(count_) + static_cast<size_t>(r);
      for (uint64_t left = all_masks_[at]; left != 0; left &= left - 1) {
        const auto slot = static_cast<size_t>(std::countr_zero(left));
        ranking_.emplace_back(-all_scores_[at * kScoreStride + slot], static_cast<int64_t>(i * kScoreStride + slot));
      }
      all_masks_[at] = 0;
    }
    if (ranking_.empty()) continue;
    const double share = std::floor(pages.value_share * static_cast<double>(ranking_.size()) + 1e-9);
    const auto wanted = pages.value_count > 0 ? static_cast<size_t>(pages.value_count) : std::max<size_t>(1, static_cast<size_t>(share));
    const auto end = ranking_.begin() + static_cast<ptrdiff_t>(std::min(wanted, ranking_.size()));
    if (end != ranking_.end()) std::nth_element(ranking_.begin(), end, ranking_.end());
    for (auto it = ranking_.begin(); it != end; ++it)
      all_masks_[static_cast<size_t>(it->second / kScoreStride) * static_cast<size_t>(count_) + static_cast<size_t>(r)] |= uint64_t{1} << (it->second % kScoreStride);
    kept += static_cast<uint64_t>(end - ranking_.begin());
  }
  return kept;
}

BlockCounts BlockRows::attend_some_values(const PageList& pages, const PageMasks& masks) {
  const KvHead& head = pages.cache->head(pages.layer, pages.kv_head);
  const KvLayout& layout = pages.cache->layout(pages.layer);
  const float* q = prepared(pages, q_, prepared_q_);
  const auto rows = static_cast<size_t>(count_);
  BlockCounts counts;
  seen_pages_.clear(), all_scores_.clear(), all_masks_.clear();
  for (int64_t i = next_page(head, pages.begin - 1, pages.end); i < pages.end; i = next_page(head, i, pages.end)) {
    const KvPage& page = head.pages[static_cast<size_t>(i)];
    const uint64_t seen = visible(masks, page, pages.cache->positions(pages.layer, page), hidden_);
    if (seen == 0) continue;
    const uint64_t pairs = pairs_of(masks_.data(), count_);
    counts.pairs += pairs, counts.key_multiplies += pairs * static_cast<uint64_t>(layout.head_size);
    (page.tier == Tier::kFast ? counts.fast_bytes : counts.slow_bytes) += static_cast<uint64_t>(std::popcount(seen)) * key_bytes(layout);
    const Step step = make_step(pages, i, nullptr, std::bit_width(seen));
    step.kernels->scores(step.block, q, count_, scores_.data());
    seen_pages_.push_back(i);
    all_scores_.insert(all_scores_.end(), scores_.begin(), scores_.begin() + count_ * kScoreStride);
    all_masks_.insert(all_masks_.end(), masks_.begin(), masks_.begin() + count_);
    step.kernels->softmax(scores_.data(), masks_.data(), count_, step.block.used, width_, maximum_.data(), sum_.data(), out_.data());
  }
  counts.value_pairs = keep_largest(pages);
  for (size_t i = 0; i < seen_pages_.size(); ++i) {
    uint64_t kept = 0;
    for (size_t r = 0; r < rows; ++r) {
      const uint64_t mask = all_masks_[i * rows + r];
      kept |= mask;
      for (size_t slot = 0; slot < kScoreStride; ++slot)
        scores_[r * kScoreStride + slot] = (mask >> slot & 1) != 0 ? std::exp(all_scores_[(i * rows + r) * kScoreStride + slot] - maximum_[r]) : 0.0f;
    }
    if (kept == 0) continue;
    const KvPage& page = head.pages[static_cast<size_t>(seen_pages_[i])];
    (page.tier == Tier::kFast ? counts.fast_bytes : counts.slow_bytes) += static_cast<uint64_t>(std::popcount(kept)) * layout.value_bytes;
    const Step step = make_step(pages, seen_pages_[i], nullptr, std::bit_width(kept));
    step.kernels->accumulate(step.block, scores_.data(), count_, out_.data());
  }
  return counts;
}

void BlockRows::start_tile(RowTile& tile) const {
  tile.count = 0;
  std::fill_n(tile.masks.begin(), count_, uint64_t{0});
}

int64_t BlockRows::fill_tile(RowTile& tile, const PageList& pages, const KvPage& page, uint64_t seen, int64_t from, BlockCounts& counts) const {
  const KvLayout& l = pages.cache->layout(pages.layer);
  const auto* positions = reinterpret_cast<const int32_t*>(page.memory + l.positions);
  const bool alike = std::all_of(masks_.begin(), masks_.begin() + count_, [&](uint64_t m) { return m == masks_[0]; });
  uint64_t copied = 0;
  while (tile.count < kScoreStride) {
    const uint64_t left = from >= kScoreStride ? 0 : seen >> from << from;
    if (left == 0) {
      from = kScoreStride;
      break;
    }
    from = std::countr_zero(left);
    const int64_t run = std::min<int64_t>(std::countr_one(left >> from), kScoreStride - tile.count);
    const uint64_t low = run == kScoreStride ? ~uint64_t{0} : (uint64_t{1} << run) - 1;
    if (alike) {
      const uint64_t bits = (masks_[0] >> from & low) << tile.count;
      for (int64_t r = 0; r < count_; ++r) tile.masks[static_cast<size_t>(r)] |= bits;
    } else {
      for (int64_t r = 0; r < count_; ++r) tile.masks[static_cast<size_t>(r)] |= (masks_[static_cast<size_t>(r)] >> from & low) << tile.count;
    }
    for (int64_t slot = from; slot < from + run; ++slot) {
      const std::byte* row = page.memory + static_cast<size_t>(slot) * l.row_bytes;
      if (pages.copies.slot_of != nullptr)
        if (const std::byte* copy = pages.copies.find(page.consecutive ? page.base + slot : positions[slot]); copy != nullptr) row = copy, ++copied;
      tile.rows[static_cast<size_t>(tile.count++)] = row;
    }
    (page.tier == Tier::kFast ? counts.fast_bytes : counts.slow_bytes) += static_cast<uint64_t>(run) * l.token_bytes;
    from += run;
  }
  if (page.tier == Tier::kSlow) counts.slow_bytes -= copied * l.token_bytes, counts.fast_bytes += copied * l.token_bytes;
  return from;
}

void BlockRows::take_in_tile(const PageList& pages, const RowTile& tile, const RowTile* next, const float* q) {
  const KvLayout& l = pages.cache->layout(pages.layer);
  const KvCodecOps& ops = codec_ops(l.codec);
  RowGather from;
  from.rows = tile.rows.data(), from.count = tile.count, from.width = l.width, from.group = ops.group, from.values = l.values;
  if (next != nullptr) from.next = next->rows.data(), from.next_count = next->count;
  KvBlock block;
  block.keys = reinterpret_cast<const std::byte*>(aligned(key_tile_)), block.values = reinterpret_cast<const std::byte*>(aligned(value_tile_));
  gather_(from, reinterpret_cast<std::byte*>(aligned(key_tile_)), reinterpret_cast<std::byte*>(aligned(value_tile_)));
  block.slots = kScoreStride, block.used = tile.count, block.width = l.width;
  if (ops.scaled) {
    // Kernels look at whole vectors of them.
    for (size_t j = 0; j < key_scales_.size(); ++j) {
      const bool there = j < static_cast<size_t>(tile.count);
      key_scales_[j] = there ? *reinterpret_cast<const float*>(tile.rows[j] + l.key_scales) : 0.0f;
      value_scales_[j] = there ? *reinterpret_cast<const float*>(tile.rows[j] + l.value_scales) : 0.0f;
    }
    block.key_scales = key_scales_.data(), block.value_scales = value_scales_.data();
  }
  take_in({block, pages.kernels}, q, tile.masks.data());
}

// Two tiles, so that memory is asked for one while the other is worked on.
BlockCounts BlockRows::attend_rows(const PageList& pages, const PageMasks& masks) {
  const KvHead& head = pages.cache->head(pages.layer, pages.kv_head);
  const KvLayout& l = pages.cache->layout(pages.layer);
  const auto size = static_cast<uint64_t>(l.head_size);
  const float* q = prepared(pages, q_, prepared_q_);
  BlockCounts counts;
  RowTile *filling = &row_tiles_[0], *full = nullptr;
  start_tile(*filling);
  for (int64_t i = next_read(head, masks, pages.begin - 1, pages.end); i < pages.end; i = next_read(head, masks, i, pages.end)) {
    const KvPage& page = head.pages[static_cast<size_t>(i)];
    const uint64_t seen = visible(masks, page, reinterpret_cast<const int32_t*>(page.memory + l.positions), hidden_);
    if (seen == 0) continue;
    const uint64_t pairs = pairs_of(masks_.data(), count_);
    counts.pairs += pairs, counts.value_pairs += pairs, counts.key_multiplies += pairs * size;
    for (int64_t from = 0; from < kScoreStride;) {
      from = fill_tile(*filling, pages, page, seen, from, counts);
      if (filling->count < kScoreStride) break;
      if (full != nullptr) take_in_tile(pages, *full, filling, q);
      full = filling, filling = filling == &row_tiles_[0] ? &row_tiles_[1] : &row_tiles_[0];
      start_tile(*filling);
    }
  }
  if (full != nullptr) take_in_tile(pages, *full, filling, q);
  if (filling->count > 0) take_in_tile(pages, *filling, nullptr, q);
  return counts;
}

BlockCounts BlockRows::attend_once(const PageList& pages, const PageMasks& masks, bool separate_sinks) {
  if (pages.cache->options().rows) return attend_rows(pages, masks);
  if (pages.value_share < 1 || pages.value_count > 0) return attend_some_values(pages, masks);
  const KvHead& head = pages.cache->head(pages.layer, pages.kv_head);
  const KvLayout& layout = pages.cache->layout(pages.layer);
  const bool packed = masks.selection().positions == Selection::Positions::kPacked;
  int64_t block = -1;
  const float* q = packed ? nullptr : prepared(pages, q_, prepared_q_);
  const float* sink_q = separate_sinks ? prepared(pages, sink_q_, prepared_sink_q_) : nullptr;
  BlockCounts counts;
  FarRows far;
  start_far(pages, far);
  for (int64_t i = next_read(head, masks, pages.begin - 1, pages.end); i < pages.end;) {
    const KvPage& page = head.pages[static_cast<size_t>(i)];
    const int32_t* positions = pages.cache->positions(pages.layer, page);
    const int64_t next = next_read(head, masks, i, pages.end);
    const std::byte* fetch = to_fetch(pages, masks, next);
    uint64_t seen = visible(masks, page, positions, hidden_);
    if (const uint64_t afar = seen == 0 ? 0 : take_in_far(pages, i, fetch, far, counts); afar != 0) {
      const uint64_t all = seen;
      seen = 0;
      for (int64_t r = 0; r < count_; ++r) seen |= masks_[static_cast<size_t>(r)];
      counts.fast_bytes += static_cast<uint64_t>(std::popcount(all & ~seen)) * layout.value_bytes;
    }
    if (seen != 0) {
      const uint64_t pairs = pairs_of(masks_.data(), count_);
      counts.pairs += pairs, counts.value_pairs += pairs, counts.key_multiplies += pairs * static_cast<uint64_t>(layout.head_size);
      // A second look finds the values still at hand.
      const size_t bytes = key_bytes(layout) + (refined_ ? 0 : layout.value_bytes);
      (page.tier == Tier::kFast ? counts.fast_bytes : counts.slow_bytes) += static_cast<uint64_t>(std::popcount(seen)) * bytes;
      if (packed && page.first / masks.selection().block != block) {
        block = page.first / masks.selection().block;
        turn_to(pages, masks.selection(), block);
        q = prepared(pages, sink_q_, prepared_q_);
      }
      const Step step = make_step(pages, i, fetch, std::bit_width(seen));
      const bool sinks = separate_sinks && masks.split_sinks(page, positions, positions_.data(), count_, masks_.data(), sink_masks_.data()) != 0;
      if (sinks) take_in(step, sink_q, sink_masks_.data());
      take_in(step, q, masks_.data());
    }
    i = next;
  }
  return counts;
}

void BlockRows::add_column_sums(const PageList& pages, const PageMasks& masks, bool separate_sinks, float* sums) {
  const KvHead& head = pages.cache->head(pages.layer, pages.kv_head);
  // Each row by the keys that it read.
  if (pages.flat_below >= 0 && !coarse_ && !refined_) {
    for (const bool coarse : {true, false}) {
      for (int64_t r = 0; r < count_; ++r) {
        const auto at = static_cast<size_t>(r);
        hidden_[at] = unheard_[at] != 0 || (flat_[at] == 0) != coarse;
      }
      coarse_ = coarse, refined_ = !coarse;
      add_column_sums(pages, masks, separate_sinks, sums);
    }
    coarse_ = refined_ = false;
    return;
  }
  if (!coarse_ && !refined_) std::copy_n(unheard_.begin(), count_, hidden_.begin());
  const float* queries = prepared(pages, q_, prepared_q_);
  const float* sink_queries = separate_sinks ? prepared(pages, sink_q_, prepared_sink_q_) : nullptr;
  for (int64_t r = 0; r < count_; ++r) log_sum_[static_cast<size_t>(r)] = log_sum_exp(r);
  for (int64_t i = next_page(head, pages.begin - 1, pages.end); i < pages.end; i = next_page(head, i, pages.end)) {
    const KvPage& page = head.pages[static_cast<size_t>(i)];
    const int32_t* positions = pages.cache->positions(pages.layer, page);
    const uint64_t seen = visible(masks, page, positions, hidden_);
    if (seen == 0) continue;
    const Step step = make_step(pages, i, nullptr, std::bit_width(seen));
    const auto add = [&](const float* q, const uint64_t* row_masks) {
      step.kernels->scores(step.block, q, count_, scores_.data());
      step.kernels->column_sums(scores_.data(), row_masks, log_sum_.data(), count_, step.block.used, sums + i * kScoreStride);
    };
    if (separate_sinks && masks.split_sinks(page, positions, positions_.data(), count_, masks_.data(), sink_masks_.data()) != 0)
      add(sink_queries, sink_masks_.data());
    add(queries, masks_.data());
  }
}

float BlockRows::log_sum_exp(int64_t r) const { return sum(r) == 0 ? kNothing : maximum(r) + std::log(sum(r)); }

void BlockRows::save(float* state) const {
  std::copy_n(maximum_.begin(), count_, state);
  std::copy_n(sum_.begin(), count_, state + count_);
  std::copy_n(out_.begin(), count_ * width_, state + 2 * count_);
}

void BlockRows::merge(const float* state) {
  for (int64_t r = 0; r < count_; ++r) {
    const auto at = static_cast<size_t>(r);
    const float theirs = state[r];
    if (theirs == kNothing) continue;
    const float top = std::max(maximum_[at], theirs), mine = std::exp(maximum_[at] - top), other = std::exp(theirs - top);
    maximum_[at] = top;
    sum_[at] = sum_[at] * mine + state[count_ + r] * other;
    float* out = out_.data() + r * width_;
    const float* added = state + 2 * count_ + r * width_;
    for (int64_t c = 0; c < width_; ++c) out[c] = out[c] * mine + added[c] * other;
  }
}

void BlockRows::write(int64_t r, int64_t head_size, float* target) const {
  const float factor = sum(r) == 0 ? 0.0f : 1.0f / sum(r);
  for (int64_t c = 0; c < head_size; ++c) target[c] = out(r)[c] * factor;
}

}  // namespace espalier
