// One measure for attention policies with different options: how many keys a query may attend to.
#pragma once

#include <cstdint>
#include <string>

#include "espalier/engine/decoder.h"
#include "espalier/requests/requests.h"

namespace espalier {

// Options under which `policy` lets a query see at most about `budget` keys, on average over its layers and heads, in
// texts of `length` tokens; `given` goes above them. Sinks are 4 and the last budget/2 tokens are always seen where the
// policy can do so, so that policies differ in the other keys alone. UserError: a budget or length that the policy
// cannot meet, or a policy that knows no budget and was given no options.
MethodOptions options_at_budget(const std::string& policy, const MethodOptions& given, int64_t budget, int64_t length, const Decoder& decoder);

// The same for texts of which every token is scored: policies that choose in decoding alone then take each as a step, as
// their prompts would say nothing of them.
MethodOptions options_to_score(const std::string& policy, MethodOptions options);

// False for what attends to all keys whatever is asked: dense, and policies that save something else.
bool has_budget(const std::string& policy);

}  // namespace espalier
