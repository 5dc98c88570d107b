// Quality of a language model as the engine runs it, under any attention policy.
#pragma once

#include "espalier/core/json.h"
#include "espalier/engine/decoder.h"
#include "espalier/requests/requests.h"

namespace espalier {

// `--metric ppl` and `needle`: the fields of `eval` in docs/cli.md, with the policy and its counters.
Json evaluate_language(const EvalRequest& request);
// Of a model that is open already; request.model is not read.
Json evaluate_language(Decoder& decoder, const EvalRequest& request);

}  // namespace espalier
