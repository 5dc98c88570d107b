// Distilling SpeContext's retrieval head: a decoder of one layer, between the model's own embedding and output, learns the
// model's next tokens and is then cut down to its queries and keys. And how much of a model's attention a choice captures.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "espalier/engine/attention/policies/retrieval_head.h"

namespace espalier {

struct RetrievalTraining {
  int64_t steps = 2000, batch = 8, length = 512;
  double lr = 3e-4;  // a cosine to 0
  uint64_t seed = 0;
  int64_t report_every = 10;
};

struct RetrievalReport {
  int64_t step;
  double divergence;  // KL(model || head) in nats a token, mean since the last report
};

// The layer starts as the model's first one. UserError for models whose first layer gives no retrieval head, and for texts
// shorter than two windows.
RetrievalWeights train_retrieval_head(const Model& model, const std::vector<int32_t>& tokens, const RetrievalTraining& options,
                                      const std::function<void(const RetrievalReport&)>& on_report);

// Which of the tokens before position i a KV head sees: ids ascending.
using TokenChoice = std::function<std::vector<int32_t>(int64_t kv_head, int64_t i)>;

// Share of the model's own attention of the queries at `positions` of a text, without that on themselves, that falls on the
// chosen tokens: mean over layers, heads and positions. One figure for each choice.
std::vector<double> captured_attention(const Model& model, const std::vector<int32_t>& ids, const std::vector<int64_t>& positions,
                                       const std::vector<TokenChoice>& choices);

// The sets that a head chooses for the queries at `positions`, budget(i) tokens each.
TokenChoice retrieval_choice(const RetrievalWeights& weights, const AttentionLayer& layer, const std::vector<int32_t>& ids,
                             const std::vector<int64_t>& positions, const std::function<int64_t(int64_t)>& budget);
// Heads, scale and rotation of the model's first attention.
AttentionLayer first_attention(const Model& model);

}  // namespace espalier
