#include "espalier/engine/attention/delta_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "espalier/engine/attention/block_kernels.h"

namespace espalier {
namespace {

// Sums start anew from a whole key at every so many pages, wherever a thread began: they do not drift, and are the same
// however the pages are shared out.
constexpr int64_t kFreshPages = 16;
constexpr int64_t kLanes = 8;

template <typename T>
void make_room_for(std::vector<T>& list, int64_t more) {
  const size_t needed = list.size() + static_cast<size_t>(more);
  if (needed > list.capacity()) list.reserve(needed + list.size() / 16);
}

template <typename T>
void drop_room(std::vector<T>& list) {
  if (list.capacity() > list.size() + list.size() / 8) list.shrink_to_fit();
}

template <typename T>
uint64_t room(const std::vector<T>& list) {
  return list.capacity() * sizeof(T);
}

}  // namespace

void DeltaRows::reserve(int64_t tokens) {
  const int64_t begin = this->tokens(), end = (begin + tokens + page_ - 1) / page_ * page_, pages = end / page_ - (begin + page_ - 1) / page_;
  make_room_for(masks_, (end - begin) * words_);
  make_room_for(values_, (end - begin) * channels_);
  make_room_for(starts_, pages);
  make_room_for(bases_, pages * channels_);
  if (reference_.empty()) reference_.assign(static_cast<size_t>(channels_), 0.0f);
}

void DeltaRows::append(const float* key, float threshold) {
  const int64_t token = tokens();
  if (reference_.empty()) reference_.assign(static_cast<size_t>(channels_), 0.0f);
  if (token % page_ == 0) {
    starts_.push_back(values_.size());
    bases_.insert(bases_.end(), reference_.begin(), reference_.end());
  }
  for (int64_t w = 0; w < words_; ++w) {
    uint64_t word = 0;
    for (int64_t c = w * 64; c < std::min(channels_, (w + 1) * 64); ++c) {
      float& last = reference_[static_cast<size_t>(c)];
      const float moved = key[c] - last;
      // NaN is stored, so that it stays visible.
      if (std::fabs(moved) <= (token > 0 ? threshold : 0.0f)) continue;
      word |= uint64_t{1} << (c % 64);
      values_.push_back(moved);
      last = key[c];
    }
    masks_.push_back(word);
  }
}

int64_t DeltaRows::stored_of(int64_t token) const {
  int64_t count = 0;
  for (int64_t w = 0; w < words_; ++w) count += std::popcount(mask(token)[w]);
  return count;
}

void DeltaRows::difference(int64_t token, float* row) const {
  const int64_t page = token / page_;
  const float* value = values_.data() + starts_[static_cast<size_t>(page)];
  for (int64_t t = page * page_; t < token; ++t) value += stored_of(t);
  for (int64_t c = 0; c < channels_; ++c) row[c] = (mask(token)[c / 64] >> (c % 64) & 1) != 0 ? *value++ : 0.0f;
}

void DeltaRows::approximation(int64_t token, float* row) const {
  const int64_t page = token / page_;
  const float* value = values_.data() + starts_[static_cast<size_t>(page)];
  std::copy_n(bases_.begin() + page * channels_, channels_, row);
  for (int64_t t = page * page_; t <= token; ++t)
    for (int64_t c = 0; c < channels_; ++c)
      if ((mask(t)[c / 64] >> (c % 64) & 1) != 0) row[c] += *value++;
}

// All rows of queries at once: a stored difference is read one time for them.
void DeltaRows::add_row(int64_t token, const float*& value, FarRows& rows) const {
  const int64_t lanes = (rows.rows + kLanes - 1) / kLanes * kLanes;
  for (int64_t w = 0; w < words_; ++w)
    for (uint64_t left = mask(token)[w]; left != 0; left &= left - 1) {
      const float moved = *value++;
      const float* q = rows.q + (w * 64 + std::countr_zero(left)) * kBlockRows;
      for (int64_t r = 0; r < lanes; ++r) rows.running[r] += moved * q[r];
    }
}

FarCounts DeltaRows::scores(int64_t page, FarRows& rows, const uint64_t* masks, uint64_t seen, float* scores) const {
  FarCounts counts;
  if (rows.after + 1 != page || rows.after < 0 || page % kFreshPages == 0) {
    std::fill_n(rows.running, kBlockRows, 0.0f);
    const float* base = bases_.data() + page * channels_;
    // Before the first token there is nothing.
    for (int64_t c = 0; c < channels_ && page > 0; ++c)
      for (int64_t r = 0; r < kBlockRows; ++r) rows.running[r] += base[c] * rows.q[c * kBlockRows + r];
    if (page > 0) counts.multiplies += static_cast<uint64_t>(channels_ * rows.rows), counts.bytes += static_cast<uint64_t>(channels_) * sizeof(float);
  }
  rows.after = page;
  const float* value = values_.data() + starts_[static_cast<size_t>(page)];
  int64_t stored[64];
  const int64_t begin = page * page_, end = std::min(tokens(), begin + page_);
  for (int64_t t = begin; t < end; ++t) {
    stored[t - begin] = stored_of(t);
    add_row(t, value, rows);
    for (int64_t r = 0; r < rows.rows; ++r) scores[r * kScoreStride + t - begin] = rows.running[r];
  }
  const auto products = [&](uint64_t slots) {
    uint64_t sum = 0;
    for (; slots != 0; slots &= slots - 1) sum += static_cast<uint64_t>(stored[std::countr_zero(slots)]);
    return sum;
  };
  uint64_t last_mask = 0, last = 0;
  for (int64_t r = 0; r < rows.rows; ++r) {
    if (masks[r] != last_mask) last_mask = masks[r], last = products(last_mask);
    counts.multiplies += last;
  }
  counts.bytes += products(seen) * sizeof(float) + static_cast<uint64_t>(std::popcount(seen) * words_) * sizeof(uint64_t);
  return counts;
}

uint64_t DeltaRows::bytes() const { return room(masks_) + room(values_) + room(starts_) + room(bases_) + room(reference_); }

void DeltaRows::shrink() {
  drop_room(masks_);
  drop_room(values_);
  drop_room(starts_);
  drop_room(bases_);
}

}  // namespace espalier
