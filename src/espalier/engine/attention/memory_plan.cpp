#include "espalier/engine/attention/memory_plan.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// Tenths of bytes: 1.3 × weights has one decimal.
using Wide = __int128;

Wide weights_tenths(const MemoryModel& m) { return Wide{13} * (static_cast<Wide>(m.model_bytes) + m.retrieval_bytes); }
// Of one token of one layer for all requests.
Wide token_bytes(const MemoryModel& m) { return Wide{m.requests} * m.kv_heads * m.head_token_bytes; }

}  // namespace

// One layer more for the retrieval head's keys, `groups` for keys and values repeated for query heads.
uint64_t memory_needed(const MemoryModel& m, int64_t tokens, int64_t slow) {
  const Wide rows = Wide{m.layers - slow + 1 + m.groups} * tokens + Wide{slow} * m.budget;
  return static_cast<uint64_t>((weights_tenths(m) + 9) / 10 + token_bytes(m) * rows);
}

std::vector<int64_t> offload_thresholds(const MemoryModel& m) {
  const Wide room = Wide{10} * m.memory_bytes - weights_tenths(m);
  if (room <= 0)
    throw UserError("memory", "the model does not fit", fmt::format("more than 1.3 × {} bytes of weights", m.model_bytes + m.retrieval_bytes),
                    fmt::format("{} bytes", m.memory_bytes));
  std::vector<int64_t> thresholds;
  for (int64_t i = 0; i <= m.layers; ++i) {
    const Wide left = room - Wide{10} * token_bytes(m) * i * m.budget;
    const Wide tokens = left <= 0 ? 0 : left / (Wide{10} * token_bytes(m) * (m.layers + 1 + m.groups - i));
    thresholds.push_back(static_cast<int64_t>(std::min<Wide>(tokens, INT64_MAX)));
  }
  return thresholds;
}

int64_t layers_offloaded(const std::vector<int64_t>& thresholds, int64_t tokens, int64_t slow) {
  const auto layers = static_cast<int64_t>(thresholds.size()) - 1;
  while (slow < layers && tokens >= thresholds[static_cast<size_t>(slow)]) ++slow;
  return slow;
}

}  // namespace espalier
