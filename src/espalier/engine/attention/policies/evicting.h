// Common ground of policies that keep the best tokens of a budget: at the end of every chunk each KV head drops the
// lowest scores until `budget` tokens are left. First and last tokens can be held back from the contest. Queries of a
// chunk see what the last end left and the chunk's own earlier tokens.
#pragma once

#include <vector>

#include "espalier/engine/attention/policy.h"

namespace espalier {

struct EvictionOptions {
  int64_t budget = 0;   // tokens a KV head; 0: share of the tokens seen
  double share = 0;
  int64_t sink = 0;
  double recent = 0;    // share of the budget that is kept for the last tokens
  int64_t chunk = 32;
};

class EvictingPolicy : public AttentionPolicy {
 public:
  explicit EvictingPolicy(const EvictionOptions& options);
  const PolicyNeeds& needs() const override { return needs_; }
  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override;

 protected:
  // A token's score is its extra state 0.
  PolicyNeeds needs_;

 private:
  void evict(PagedKvCache& cache, int layer, int64_t g, int64_t keep) const;
  EvictionOptions options_;
};

// budget, budget_bytes, share, sink, recent and chunk, with checks.
std::vector<PolicyOption> eviction_options(const std::string& recent);
EvictionOptions read_eviction(const PolicyContext& context);

}  // namespace espalier
