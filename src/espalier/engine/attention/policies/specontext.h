// SpeContext ("SpeContext: Enabling Efficient Long-context Reasoning with Speculative Context Sparsity in LLMs", 2025): before
// the layers of a decoding step run, a small retrieval head scores all tokens once; what it finds for each KV head serves
// every layer. Layers whose keys and values lie in slow memory have copies of those tokens in fast memory, of which only
// the difference to the last step is moved, by a thread of its own while earlier layers run.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "espalier/engine/attention/memory_plan.h"
#include "espalier/engine/attention/policies/elastic_slots.h"
#include "espalier/engine/attention/policies/retrieval_head.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/attention/retrieval_keys.h"

namespace espalier {

struct SpeContextOptions {
  int64_t budget = 2048;          // tokens of a KV head, besides the query's own
  bool one_set = false;           // for all heads
  double confidence = 0;          // of a head whose chosen tokens weigh less all are seen
  int64_t prompt = 0;             // tokens; from there on all are decoded. 0: forwards of one token are decoding
  int64_t slow = 0;               // layers whose cache is in slow memory from the start
  std::vector<int64_t> thresholds;  // memory_plan.h; empty: no layer goes there later
  std::string slow_directory;     // whose disk is slow memory; empty: memory is
};

class SpeContext : public AttentionPolicy {
 public:
  SpeContext(std::span<const AttentionLayer> layers, KvCodec codec, int64_t capacity, std::unique_ptr<RetrievalRows> head, SpeContextOptions options);
  ~SpeContext() override;

  const PolicyNeeds& needs() const override { return needs_; }
  void read_tokens(std::span<const int32_t> ids) override;
  void before_forward(PagedKvCache& cache, int64_t position, int64_t tokens) override;
  void before_layers(const TeamRank& team) override;
  void before_layer(PagedKvCache& cache, int layer) override;
  uint64_t select(const SelectQuery& query, Selection& selection) const override;
  RowCopies row_copies(int layer, int64_t kv_head) const override;
  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override;
  Json report() const override;

 private:
  // What one query of one KV head sees.
  struct Choice {
    std::vector<int32_t> ids;
    bool all = true;
  };
  // Copies of a slow layer: [KV head][slot] rows.
  struct Copies {
    std::vector<std::byte> rows;
    bool current = false;  // they are the slots' tokens
  };

  bool slow(int layer) const { return layer >= static_cast<int>(layers_.size()) - static_cast<int>(slow_); }
  void offload(PagedKvCache& cache, int64_t tokens);
  void choose(int64_t t, int64_t kv_head, const RetrievalScores& scores, LargestScores& largest);
  void choose_one_set(int64_t t);
  void follow(int64_t t, int64_t kv_head);
  void start_copies(const PagedKvCache& cache);
  void copy_layer(const PagedKvCache& cache, int layer);
  void serve();
  uint64_t own_bytes() const;

  std::vector<AttentionLayer> layers_;
  std::unique_ptr<RetrievalRows> head_;
  SpeContextOptions options_;
  PolicyNeeds needs_;
  int64_t heads_, kv_heads_, head_size_;
  RetrievalKeys keys_;
  size_t row_bytes_ = 0;

  // Of the forward that runs.
  int64_t position_ = 0, tokens_ = 0, decoded_ = 0;  // tokens before the first that is decoded
  bool copying_ = false;                  // the copies for its step, if there are any, were asked for
  std::vector<int32_t> ids_;
  std::vector<Choice> choices_;           // [token][KV head]
  std::vector<RetrievalScores> scores_;   // by KV head

  // Slow memory.
  int64_t slow_ = 0;
  std::vector<ElasticSlots> slots_;       // by KV head
  std::vector<SlotChange> changes_;       // likewise, of the step that runs
  std::vector<Copies> copies_;            // by layer

  std::thread copier_;
  std::mutex mutex_;
  std::condition_variable wake_;
  const PagedKvCache* to_copy_ = nullptr;  // of the job that waits or runs
  int copied_ = 0;                         // layers before this one are done
  bool stopping_ = false;

  uint64_t copied_bytes_ = 0, reload_bytes_ = 0;  // reload: what copying whole sets would have moved
  struct Followed {
    uint64_t steps = 0, selected = 0, loaded = 0, evicted = 0;
  };
  std::vector<Followed> followed_;  // by KV head
};

}  // namespace espalier
