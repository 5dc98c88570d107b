// An attention policy with its options in one word, as lists of policies hold them.
#pragma once

#include <string>

#include "espalier/requests/requests.h"

namespace espalier {

// "29-hip:budget=64:window=32"; where: what the error names. UserError unless every part behind the first is name=value,
// no name twice.
EngineRequest policy_from_text(const std::string& text, const std::string& where);

}  // namespace espalier
