// Attention of one sequence over its own cache, under a policy. The decoder knows nothing else of caches and policies.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/engine/team.h"

namespace espalier {

// One Attention node of the graph, in order of execution. Query head h reads KV head h / (heads / kv_heads).
struct AttentionLayer {
  int64_t heads = 0, kv_heads = 0, head_size = 0;
  double scale = 1;
  int64_t window = 0;  // of the model itself (sliding window), counting the query's own token; 0: none
  std::vector<double> inverse_frequency;  // of the rotated pairs (i, i + pairs) of each head; empty: no rotation
  double rotary_scale = 1;                // of cosine and sine
};

enum class KvCodec : uint8_t { kF32, kBF16, kI8 };  // kI8: symmetric, one scale a token and head

// What a user asks for: a policy of the registry (policy.h) with its options.
struct AttentionRequest {
  std::string policy = "dense";
  std::map<std::string, std::string> options;
  KvCodec codec = KvCodec::kF32;
  uint64_t seed = 0;
  // Of the layers' model; Decoder::start fills them in.
  std::filesystem::path model;
  int64_t trained = 0;  // its context
  uint64_t weight_bytes = 0;
};

// Sums since the sequence began (00-kv-attention-needs, point 9).
struct AttentionCounters {
  uint64_t keys_scored = 0;      // key rows read to decide a selection
  uint64_t keys_attended = 0;    // key rows that queries used, counted for each query head
  uint64_t values_read = 0;      // value rows, likewise
  uint64_t key_multiplies = 0;   // of queries with keys; fewer than keys_attended · head_size where a policy skips some
  uint64_t multiply_adds = 0;    // these and those of probabilities with values
  uint64_t fast_bytes = 0, slow_bytes = 0;  // of cache read, by tier; a KV row read once for a group of heads counts once
};

// The queries, keys and values of `tokens` consecutive tokens, before rotation; rows are strides apart (in floats).
// q [tokens, heads · head_size], k and v [tokens, kv_heads · head_size], out like q.
struct AttentionInput {
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  float* out = nullptr;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, out_stride = 0;
  int64_t tokens = 0;
};

class AttentionPolicy;
class PagedKvCache;

class AttentionSequence {
 public:
  // UserError on an unknown policy or an option that does not fit. capacity: the most tokens that the sequence may have.
  AttentionSequence(std::shared_ptr<const std::vector<AttentionLayer>> layers, const AttentionRequest& request, int64_t capacity);
  ~AttentionSequence();

  int64_t length() const;  // tokens seen; the next one has this position
  int64_t capacity() const;
  // One caller (rank 0) before the layers of a forward over `tokens` new tokens: hooks, and all the memory that the forward
  // needs, so that attend() allocates nothing. ids: the tokens themselves, for policies that read them.
  void begin_forward(int64_t tokens, int team_size, std::span<const int32_t> ids = {});
  // Every rank of the team together, once for each layer, in order. Contains its own barriers; results are complete for
  // all ranks after the caller's next barrier.
  void attend(int layer, const AttentionInput& input, const TeamRank& team);
  // One caller after the last layer: what the policy frees is freed here.
  void end_forward();

  const AttentionCounters& counters() const;
  uint64_t cache_bytes() const;  // allocated now
  const PagedKvCache& cache() const;
  const AttentionPolicy& policy() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier
