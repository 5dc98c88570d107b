// LongHeads ("LongHeads: Multi-Head Attention is Secretly a Long Context Processor", 2024): every head sees a few chunks of
// the text, side by side, so that no position exceeds what the model was made for. Each closed chunk has a vector for each
// query head; a query takes the chunks whose vectors it meets best, always the first one and the last two.
//
// Keys are stored turned by their place in their chunk, and a query is turned to each chunk as it stands to it: the same
// products as from raw keys turned to their new places, without turning them each time they are read.
#pragma once

#include <span>
#include <vector>

#include "espalier/engine/attention/block_attention.h"
#include "espalier/engine/attention/policy.h"

namespace espalier {

struct LongHeadsOptions {
  int64_t chunk = 256;
  int64_t chunks = 16;   // that a query sees
  int64_t start = 4096;  // earlier queries of a prompt see everything
  bool per_head = true;  // else the query heads of a KV head choose together
  bool random = false;   // the control: chunks at random instead of the best ones
  uint64_t seed = 0;     // of the control
};

class LongHeads : public AttentionPolicy {
 public:
  LongHeads(std::span<const AttentionLayer> layers, KvCodec codec, const LongHeadsOptions& options);
  const PolicyNeeds& needs() const override { return needs_; }
  void begin_sequence(PagedKvCache& cache) override;
  void before_forward(PagedKvCache& cache, int64_t position, int64_t tokens) override;
  void on_append(PagedKvCache& cache, const AppendedTokens& tokens) override;
  uint64_t select(const SelectQuery& query, Selection& selection) const override;
  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override;

  struct Representation {
    std::vector<float> mean, vector;  // [head_size]
  };
  // Of the chunk that the last tokens belong to, once it is full: the mean output of its queries over its own keys and
  // values, in both directions, and what the chunk's keys give to that mean as a query.
  Representation represent(const PagedKvCache& cache, int layer, int64_t head, int64_t chunk);
  // Of an un-rotated query of the head and a closed chunk.
  float score(int layer, int64_t head, int64_t chunk, const float* q) const;

 private:
  struct State {
    std::vector<float> queries;               // of the open chunk, un-rotated: [chunk, heads, head_size]
    std::vector<std::vector<float>> vectors;  // by head: [closed chunks, head_size]
  };
  bool sees_all(const SelectQuery& query) const;
  std::vector<float> mean_output(const PagedKvCache& cache, int layer, int64_t head, int64_t chunk);

  std::vector<AttentionLayer> layers_;
  LongHeadsOptions options_;
  PolicyNeeds needs_;
  const BlockKernels &kernels_, &plain_kernels_;
  RotaryRows places_;  // inside a chunk
  BlockRows rows_;
  std::vector<State> states_;  // by layer
  int64_t tokens_ = 0;         // of the forward
};

}  // namespace espalier
