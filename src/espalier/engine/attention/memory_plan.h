// How many layers must keep their keys and values in slow memory for a sequence to fit into fast memory: SpeContext's model
// of memory ("SpeContext: Enabling Efficient Long-context Reasoning with Speculative Context Sparsity in LLMs", 2025).
// Layers go from the last to the first, and one by one as the sequence grows.
#pragma once

#include <cstdint>
#include <vector>

namespace espalier {

struct MemoryModel {
  int64_t layers = 0, kv_heads = 0;
  int64_t groups = 1;             // query heads of a KV head
  int64_t head_token_bytes = 0;   // a token's key and value of one KV head
  int64_t requests = 1;           // sequences at a time
  int64_t budget = 0;             // tokens that a slow layer has copies of
  uint64_t model_bytes = 0, retrieval_bytes = 0;  // weights
  uint64_t memory_bytes = 0;      // fast memory of the machine
};

// Of `tokens` with `slow` layers in slow memory, rounded up: 1.3 × the weights, and keys and values.
uint64_t memory_needed(const MemoryModel& model, int64_t tokens, int64_t slow);
// From so many tokens on more than i layers must be slow; [layers + 1], 0 where not even the copies fit. UserError if the
// weights alone do not fit.
std::vector<int64_t> offload_thresholds(const MemoryModel& model);
// With `slow` layers in slow memory so far.
int64_t layers_offloaded(const std::vector<int64_t>& thresholds, int64_t tokens, int64_t slow = 0);

}  // namespace espalier
