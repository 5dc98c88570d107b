// Text from a language model on the interpreter, with a KV cache.
#pragma once

#include "espalier/cli/requests.h"
#include "espalier/core/json.h"

namespace espalier {

Json run_generate(const GenerateRequest& request);

}  // namespace espalier
