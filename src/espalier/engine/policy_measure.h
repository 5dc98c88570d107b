// One attention policy at one budget of keys: what it costs and what the model still does under it. Rows of
// `compare --policies`.
#pragma once

#include "espalier/core/json.h"
#include "espalier/engine/decoder.h"
#include "espalier/requests/requests.h"

namespace espalier {

// Tokens of windows, of needle texts and of the timed prompt. UserError if --length does not fit the model.
int64_t policy_length(const Decoder& decoder, const PolicyCompareRequest& request);

// {"policy", "budget" (null: none), "options", "ppl", "ppl_ci95", "needle", "needle_ci95", "token_accuracy", "needle_cells",
// "keys" (mean that a query of a head attended to in a needle text of the full length), "fast_bytes", "slow_bytes" (of the cache,
// read for one decoded token of it), "prefill_ms", "decode_ms" (medians), "cache_bytes", "resident_bytes" (cache and weights),
// "ppl_options" (where perplexity is measured with others), "notes", "seconds"}; or {"policy", "budget", "error"} where the budget or the model does not suit the policy.
// budget 0: none.
Json measure_policy(Decoder& decoder, const PolicyCompareRequest& request, const EngineRequest& arm, int64_t budget);

}  // namespace espalier
