// Bodies of /v1/completions and /v1/chat/completions as the OpenAI interface defines them, with what espalier adds:
// top_k, min_p, repetition_penalty, policy, policy_options, budget, cache, ignore_eos.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "espalier/engine/chat_template.h"
#include "espalier/engine/scheduler.h"
#include "espalier/engine/server/api_error.h"
#include "espalier/io/tokenizer.h"

namespace espalier {

struct ApiRequest {
  std::string model;  // "": not given
  bool chat = false, stream = false, include_usage = false;
  bool seeded = false;  // generation.seed was given
  GenerationRequest generation;
};

struct ApiContext {
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat = nullptr;  // null: the model has none
  AttentionRequest attention;          // unless the request names another
  int64_t context_length = 0;
};

// ApiError naming the field that is wrong, unknown, or asks for what is not there.
ApiRequest parse_completion(const std::string& body, const ApiContext& context);
ApiRequest parse_chat_completion(const std::string& body, const ApiContext& context);

}  // namespace espalier
