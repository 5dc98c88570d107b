// Text from a language model on the interpreter, with a KV cache.
#pragma once

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

Json run_generate(const GenerateRequest& request);

}  // namespace espalier
