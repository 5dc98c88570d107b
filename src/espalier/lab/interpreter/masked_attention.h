// Dense attention under a selection: the engine's policies by their definition, on ATen, so that gradients flow.
#pragma once

#include "espalier/engine/attention/selection.h"
#include "espalier/lab/torch.h"

namespace espalier {

// Which of the keys at positions 0 … keys-1 the queries at position, position + 1, … see: bool [queries, keys].
// model_window: of the layer itself, counting the query's own token; 0: none.
at::Tensor selection_mask(const Selection& selection, int64_t position, int64_t queries, int64_t keys, int64_t model_window = 0);
// Of those, the keys that are seen as sinks alone, beyond the window: what Positions::kCache moves nearer.
at::Tensor sink_mask(const Selection& selection, int64_t position, int64_t queries, int64_t keys);

struct MaskedAttention {
  at::Tensor out;            // [heads, queries, head_size]
  at::Tensor probabilities;  // [heads, queries, keys]; summed over queries: what H2O scores by
  at::Tensor log_sum_exp;    // [heads, queries], -infinity where no key is seen; out is 0 there
};

// q [heads, queries, head_size], k and v [kv_heads, keys, head_size], rotated; query head h reads KV head
// h / (heads / kv_heads). mask: bool, [queries, keys], [heads, queries, keys] or, one for each group, [kv_heads, queries, keys].
MaskedAttention masked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask, double scale);
// Scores of the keys in `sinks` are taken with sink_q, the queries as they stand to sinks.
MaskedAttention masked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask, double scale,
                                 const at::Tensor& sink_q, const at::Tensor& sinks);

}  // namespace espalier
