#include "espalier/engine/attention/retrieval_keys.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "espalier/core/error.h"
#include "espalier/engine/simd.h"

namespace espalier {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

template <typename T>
void grow(std::vector<T>& list, int64_t size) {
  if (static_cast<int64_t>(list.size()) < size) list.resize(static_cast<size_t>(size));
}

}  // namespace

void RetrievalKeys::Free::operator()(std::byte* p) const { std::free(p); }

RetrievalKeys::RetrievalKeys(int64_t kv_heads, int64_t head_size, KvCodec codec)
    : kv_heads_(kv_heads), layout_(make_layout(codec == KvCodec::kF32 ? codec : KvCodec::kBF16, kMaxPageTokens, head_size, 0)),
      page_bytes_((layout_.values + 63) / 64 * 64),
      // Those that do not round queries.
      kernels_(block_kernels(layout_.codec, std::min(simd_level(), SimdLevel::kAvx512))) {}

void RetrievalKeys::reserve(int64_t tokens) {
  const auto wanted = static_cast<size_t>((tokens + kMaxPageTokens - 1) / kMaxPageTokens * kv_heads_);
  if (pages_.capacity() < wanted) pages_.reserve(std::max(wanted, 2 * pages_.capacity()));
  while (pages_.size() < wanted) {
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, page_bytes_));
    if (memory == nullptr) throw std::bad_alloc();
    std::memset(memory, 0, page_bytes_);
    pages_.emplace_back(memory);
  }
}

void RetrievalKeys::append(int64_t kv_head, int64_t position, const float* key) {
  write_key(layout_, page(kv_head, position / kMaxPageTokens), position % kMaxPageTokens, key);
}

// Products first, with each row's sum on the way; then the largest weight of each token. Of logarithms, which have the order
// of the weights and never become 0.
void RetrievalKeys::score(int64_t kv_head, const float* q, int64_t rows, int64_t count, RetrievalScores& s) const {
  const int64_t pages = (count + kMaxPageTokens - 1) / kMaxPageTokens, width = layout_.width;
  s.rows = rows, s.count = count, s.stride = pages * kMaxPageTokens;
  grow(s.q, rows * width), grow(s.products, rows * s.stride), grow(s.maximum, rows), grow(s.sum, rows), grow(s.log_sum, rows);
  s.group.resize(static_cast<size_t>(count));
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(q + r * layout_.head_size, layout_.head_size, s.q.data() + r * width);
    std::fill_n(s.q.data() + r * width + layout_.head_size, width - layout_.head_size, 0.0f);
  }
  alignas(64) float tile[kBlockRows * kScoreStride];
  uint64_t masks[kBlockRows];
  for (int64_t first = 0; first < rows; first += kBlockRows) {
    const int64_t here = std::min(kBlockRows, rows - first);
    std::fill_n(s.maximum.data() + first, here, kNothing);
    std::fill_n(s.sum.data() + first, here, 0.0f);
    for (int64_t p = 0; p < pages; ++p) {
      KvBlock block;
      block.keys = page(kv_head, p), block.slots = kMaxPageTokens, block.width = width;
      block.used = std::min(kMaxPageTokens, count - p * kMaxPageTokens);
      if (p + 1 < pages) block.ahead = page(kv_head, p + 1) - page(kv_head, p);
      kernels_.scores(block, s.q.data() + first * width, here, tile);
      for (int64_t r = 0; r < here; ++r)
        std::copy_n(tile + r * kScoreStride, block.used, s.products.data() + (first + r) * s.stride + p * kMaxPageTokens);
      std::fill_n(masks, here, block.used == 64 ? ~uint64_t{0} : (uint64_t{1} << block.used) - 1);
      kernels_.softmax(tile, masks, here, block.used, 0, s.maximum.data() + first, s.sum.data() + first, nullptr);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    const auto at = static_cast<size_t>(r);
    s.log_sum[at] = s.maximum[at] + std::log(s.sum[at]);
    const float* products = s.products.data() + r * s.stride;
    float* group = s.group.data();
    for (int64_t j = 0; j < count; ++j) {
      const float weight = products[j] - s.log_sum[at];
      group[j] = r == 0 || group[j] < weight ? weight : group[j];
    }
  }
}

double RetrievalScores::mass(std::span<const int32_t> tokens) const {
  double sum_of_rows = 0;
  for (int64_t r = 0; r < rows; ++r)
    for (const int32_t j : tokens) sum_of_rows += std::exp(static_cast<double>(log_weight(r, j)));
  return sum_of_rows / static_cast<double>(rows);
}

void select_tokens(std::span<const float> log_weights, int64_t budget, LargestScores& largest, std::vector<int32_t>& ids) {
  largest.choose(log_weights, std::min(budget, static_cast<int64_t>(log_weights.size())), ids);
}

}  // namespace espalier
