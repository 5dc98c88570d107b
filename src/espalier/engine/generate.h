// Text from a language model.
#pragma once

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

// {"text", "tokens", "prompt_tokens", "finish": "stop" | "length", "load_s", "prefill_tok_s", "decode_tok_s", "policy",
// "cache_bytes"}
Json generate(const GenerateRequest& request);

}  // namespace espalier
