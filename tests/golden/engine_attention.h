// Cases of attention policies through the engine itself: its cache, its kernel, the policy of the registry.
#pragma once

#include <functional>
#include <memory>

#include "espalier/engine/attention/kv_cache.h"
#include "espalier/engine/attention/sequence.h"
#include "runner.h"

namespace espalier::golden {

struct EngineRun {
  at::Tensor out;  // [heads, tokens, head_size]
  std::unique_ptr<AttentionSequence> sequence;
};

// q [heads, tokens, head_size], k and v [KV heads, tokens, head_size]: one layer without rotation, scale 1/sqrt(head_size),
// in forwards of the given sizes. after: called when a forward is through.
EngineRun run_engine(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionRequest& request,
                     const std::vector<int64_t>& forwards, const std::function<void(const AttentionSequence&)>& after = nullptr);

}  // namespace espalier::golden
