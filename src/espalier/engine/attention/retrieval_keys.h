// Keys of a retrieval head and what its queries make of them: the tokens that a query of a large model should see.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "espalier/core/largest_scores.h"
#include "espalier/engine/attention/block_kernels.h"
#include "espalier/engine/attention/kv_codec.h"

namespace espalier {

// What one KV head's queries weigh the first `count` tokens with.
struct RetrievalScores {
  int64_t rows = 0, count = 0, stride = 0;
  std::vector<float> q, products;         // [rows, padded channels]; [rows, stride]
  std::vector<float> maximum, sum, log_sum;  // by row
  std::vector<float> group;               // [count]: the logarithm of the largest softmax weight of all rows

  float log_weight(int64_t row, int64_t token) const { return products[static_cast<size_t>(row * stride + token)] - log_sum[static_cast<size_t>(row)]; }
  // Softmax weight that the tokens get, mean over rows.
  double mass(std::span<const int32_t> tokens) const;
};

class RetrievalKeys {
 public:
  // 16-bit keys unless the cache's codec is fp32.
  RetrievalKeys(int64_t kv_heads, int64_t head_size, KvCodec codec);

  // Makes appends up to so many tokens possible without allocation.
  void reserve(int64_t tokens);
  // key: rotated. Heads may be appended to from several threads, each head from one.
  void append(int64_t kv_head, int64_t position, const float* key);
  // q [rows, head_size], rotated and scaled, into `scores`, whose memory is kept.
  void score(int64_t kv_head, const float* q, int64_t rows, int64_t count, RetrievalScores& scores) const;
  uint64_t bytes() const { return static_cast<uint64_t>(pages_.size()) * page_bytes_; }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::byte* page(int64_t kv_head, int64_t index) const { return pages_[static_cast<size_t>(index * kv_heads_ + kv_head)].get(); }

  int64_t kv_heads_;
  KvLayout layout_;
  size_t page_bytes_;  // of keys alone
  std::vector<std::unique_ptr<std::byte, Free>> pages_;  // [page][KV head]
  const BlockKernels& kernels_;
};

// The `budget` tokens of the largest weights, or all; ascending, the first of equal ones.
void select_tokens(std::span<const float> log_weights, int64_t budget, LargestScores& largest, std::vector<int32_t>& ids);

}  // namespace espalier
