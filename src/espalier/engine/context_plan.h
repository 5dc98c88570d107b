// What a long context needs of memory, and how many layers must keep their cache in slow memory (attention/memory_plan.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

struct ContextPlanRequest {
  CommonRequest common;
  std::string model, cache = "fp32";
  int64_t context = 0, budget = 2048, requests = 1;
  std::vector<uint64_t> memory;  // bytes; none: what this machine has free
};

// {"model", "context", "budget", "requests", "cache", "layers", "kv_heads", "head_size", "bytes": {"weights",
// "retrieval_head", "cache_token", "cache"}, "plans": [{"memory_bytes", "fits", "slow_layers", "needed_bytes",
// "thresholds"}]}. UserError if the weights alone do not fit into one of the memories.
Json plan_context(const ContextPlanRequest& request);

}  // namespace espalier
