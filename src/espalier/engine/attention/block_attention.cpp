#include "espalier/engine/attention/block_attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

int64_t next_page(const KvHead& head, int64_t page, int64_t end) {
  do ++page;
  while (page < end && head.pages[static_cast<size_t>(page)].alive == 0);
  return page;
}

uint64_t pairs_of(const uint64_t* masks, int64_t count) {
  uint64_t sum = 0;
  for (int64_t r = 0; r < count; ++r) sum += static_cast<uint64_t>(std::popcount(masks[r]));
  return sum;
}

}  // namespace

BlockCounts& BlockCounts::operator+=(const BlockCounts& other) {
  pairs += other.pairs, key_multiplies += other.key_multiplies, fast_bytes += other.fast_bytes, slow_bytes += other.slow_bytes;
  return *this;
}

void BlockRows::reserve(int64_t width) {
  const auto rows = static_cast<size_t>(kBlockRows), floats = rows * static_cast<size_t>(width);
  for (auto* list : {&q_, &sink_q_, &out_}) list->resize(floats);
  for (auto* list : {&maximum_, &sum_, &log_sum_}) list->resize(rows);
  scores_.resize(rows * kScoreStride);
  for (auto* list : {&key_tile_, &value_tile_}) list->resize(static_cast<size_t>(width) * kMaxPageTokens);
  row_.resize(static_cast<size_t>(width));
  for (auto* list : {&prepared_q_, &prepared_sink_q_}) list->resize(rows * static_cast<size_t>(prepared_bytes(width)) / sizeof(float));
  positions_.resize(rows);
  for (auto* list : {&masks_, &sink_masks_}) list->resize(rows);
}

void BlockRows::start(int64_t count, int64_t width) {
  ESP_ASSERT(count <= kBlockRows && static_cast<size_t>(width) <= row_.size());
  width_ = width, count_ = count;
  std::fill_n(out_.begin(), count * width, 0.0f);
  std::fill_n(sum_.begin(), count, 0.0f);
  std::fill_n(maximum_.begin(), count, kNothing);
}

// The page as fp32, its keys rotated by their positions.
void BlockRows::make_tile(const PageList& pages, const KvPage& page) {
  const KvLayout& l = pages.cache->layout(pages.layer);
  const KvCodecOps& ops = codec_ops(l.codec);
  std::fill_n(key_tile_.begin(), l.slots * l.width, 0.0f);
  std::fill_n(value_tile_.begin(), l.slots * l.width, 0.0f);
  for (uint64_t left = page.alive; left != 0; left &= left - 1) {
    const int64_t slot = std::countr_zero(left);
    ops.read_key(l, page.memory, slot, row_.data());
    pages.rotation->rotate(pages.layer, pages.cache->position(pages.layer, page, slot), row_.data());
    for (int64_t c = 0; c < l.head_size; ++c) key_tile_[static_cast<size_t>(key_index(l.slots, 1, c, slot))] = row_[static_cast<size_t>(c)];
    ops.read_value(l, page.memory, slot, value_tile_.data() + slot * l.width);
  }
}

BlockRows::Step BlockRows::make_step(const PageList& pages, int64_t index, int64_t next, int64_t used) {
  const KvHead& head = pages.cache->head(pages.layer, pages.kv_head);
  const KvPage& page = head.pages[static_cast<size_t>(index)];
  const KvLayout& l = pages.cache->layout(pages.layer);
  KvBlock b;
  b.slots = l.slots, b.width = l.width, b.used = used;
  if (pages.cache->options().keys == KeyForm::kRaw) {
    make_tile(pages, page);
    b.keys = reinterpret_cast<const std::byte*>(key_tile_.data()), b.values = reinterpret_cast<const std::byte*>(value_tile_.data());
    return {b, pages.plain_kernels};
  }
  b.keys = page.memory, b.values = page.memory + l.values;
  if (codec_ops(l.codec).scaled) {
    b.key_scales = reinterpret_cast<const float*>(page.memory + l.key_scales);
    b.value_scales = reinterpret_cast<const float*>(page.memory + l.value_scales);
  }
  if (next < pages.end) b.ahead = head.pages[static_cast<size_t>(next)].memory - page.memory;
  return {b, pages.kernels};
}

void BlockRows::take_in(const Step& step, const float* q, const uint64_t* masks) {
  step.kernels->scores(step.block, q, count_, scores_.data());
  take_in_scores(step, masks);
}

void BlockRows::take_in_scores(const Step& step, const uint64_t* masks) {
  step.kernels->softmax(scores_.data(), masks, count_, step.block.used, width_, maximum_.data(), sum_.data(), out_.data());
  step.kernels->accumulate(step.block, scores_.data(), count_, out_.data());
}

// The queries as the kernel wants them.
const float* BlockRows::prepared(const PageList& pages, const std::vector<float>& q, std::vector<float>& target) const {
  const bool tiles = pages.cache->options().keys == KeyForm::kRaw;
  if (tiles || pages.kernels->prepare == nullptr) return q.data();
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

uint64_t BlockRows::take_in_far(const PageList& pages, int64_t index, int64_t next, FarRows& far, BlockCounts& counts) {
  if (pages.far == nullptr) return 0;
  const KvPage& page = pages.cache->head(pages.layer, pages.kv_head).pages[static_cast<size_t>(index)];
  const int32_t* positions = pages.cache->positions(pages.layer, page);
  const uint64_t seen = PageMasks::split_far(pages.far->near_region(), page, positions, positions_.data(), count_, masks_.data(), sink_masks_.data());
  if (seen == 0) return 0;
  const FarCounts read = pages.far->scores(pages.layer, pages.kv_head, index, far, sink_masks_.data(), seen, scores_.data());
  take_in_scores(make_step(pages, index, next, std::bit_width(seen)), sink_masks_.data());
  counts.pairs += pairs_of(sink_masks_.data(), count_), counts.key_multiplies += read.multiplies, counts.fast_bytes += read.bytes;
  return seen;
}

BlockCounts BlockRows::attend(const PageList& pages, const PageMasks& masks, bool separate_sinks) {
  const KvHead& head = pages.cache->head(pages.layer, pages.kv_head);
  const KvLayout& layout = pages.cache->layout(pages.layer);
  const bool packed = masks.selection().positions == Selection::Positions::kPacked;
  int64_t block = -1;
  const float* q = packed ? nullptr : prepared(pages, q_, prepared_q_);
  const float* sink_q = separate_sinks ? prepared(pages, sink_q_, prepared_sink_q_) : nullptr;
  BlockCounts counts;
  FarRows far;
  start_far(pages, far);
  for (int64_t i = next_page(head, pages.begin - 1, pages.end); i < pages.end;) {
    const KvPage& page = head.pages[static_cast<size_t>(i)];
    const int32_t* positions = pages.cache->positions(pages.layer, page);
    const int64_t next = next_page(head, i, pages.end);
    uint64_t seen = masks.fill(page, positions, positions_.data(), count_, masks_.data());
    if (const uint64_t afar = seen == 0 ? 0 : take_in_far(pages, i, next, far, counts); afar != 0) {
      const uint64_t all = seen;
      seen = 0;
      for (int64_t r = 0; r < count_; ++r) seen |= masks_[static_cast<size_t>(r)];
      counts.fast_bytes += static_cast<uint64_t>(std::popcount(all & ~seen)) * (layout.token_bytes / 2);  // their values
    }
    if (seen != 0) {
      const uint64_t pairs = pairs_of(masks_.data(), count_);
      counts.pairs += pairs, counts.key_multiplies += pairs * static_cast<uint64_t>(layout.head_size);
      (page.tier == Tier::kFast ? counts.fast_bytes : counts.slow_bytes) += static_cast<uint64_t>(std::popcount(seen)) * layout.token_bytes;
      if (packed && page.first / masks.selection().block != block) {
        block = page.first / masks.selection().block;
        turn_to(pages, masks.selection(), block);
        q = prepared(pages, sink_q_, prepared_q_);
      }
      const Step step = make_step(pages, i, next, std::bit_width(seen));
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
  const float* queries = prepared(pages, q_, prepared_q_);
  const float* sink_queries = separate_sinks ? prepared(pages, sink_q_, prepared_sink_q_) : nullptr;
  for (int64_t r = 0; r < count_; ++r) log_sum_[static_cast<size_t>(r)] = log_sum_exp(r);
  for (int64_t i = next_page(head, pages.begin - 1, pages.end); i < pages.end; i = next_page(head, i, pages.end)) {
    const KvPage& page = head.pages[static_cast<size_t>(i)];
    const int32_t* positions = pages.cache->positions(pages.layer, page);
    const uint64_t seen = masks.fill(page, positions, positions_.data(), count_, masks_.data());
    if (seen == 0) continue;
    const Step step = make_step(pages, i, pages.end, std::bit_width(seen));
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
