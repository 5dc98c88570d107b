#include "espalier/core/error.h"
#include "espalier/engine/server/completion.h"

namespace espalier {
namespace {

const char* finish_word(FinishReason reason) { return reason == FinishReason::kLength ? "length" : "stop"; }

Json usage_of(const GenerationEnd& end) {
  return {{"prompt_tokens", end.prompt_tokens}, {"completion_tokens", end.completion_tokens}, {"total_tokens", end.prompt_tokens + end.completion_tokens}};
}

}  // namespace

CompletionObjects::CompletionObjects(const ApiRequest& request, std::string model, uint64_t number, int64_t created)
    : chat_(request.chat), include_usage_(request.include_usage), model_(std::move(model)),
      id_(fmt::format("{}-{:x}{:06x}", request.chat ? "chatcmpl" : "cmpl", created, number)), created_(created) {}

Json CompletionObjects::object(const char* kind, Json choices) const {
  return {{"id", id_}, {"object", kind}, {"created", created_}, {"model", model_}, {"choices", std::move(choices)}};
}

Json CompletionObjects::whole(const std::string& text, const GenerationEnd& end) const {
  Json choice = {{"index", 0}};
  if (chat_) choice["message"] = {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
  else choice["text"] = text;
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = finish_word(end.reason);
  Json made = object(chat_ ? "chat.completion" : "text_completion", Json::array({choice}));
  made["usage"] = usage_of(end);
  return made;
}

Json CompletionObjects::chunk_of(Json choice) const {
  Json made = object(chat_ ? "chat.completion.chunk" : "text_completion", Json::array({std::move(choice)}));
  if (include_usage_) made["usage"] = nullptr;
  return made;
}

Json CompletionObjects::first_chunk() const {
  if (!chat_) return {};
  return chunk_of({{"index", 0}, {"delta", {{"role", "assistant"}, {"content", ""}}}, {"logprobs", nullptr}, {"finish_reason", nullptr}});
}

Json CompletionObjects::chunk(const std::string& text) const {
  if (chat_) return chunk_of({{"index", 0}, {"delta", {{"content", text}}}, {"logprobs", nullptr}, {"finish_reason", nullptr}});
  return chunk_of({{"index", 0}, {"text", text}, {"logprobs", nullptr}, {"finish_reason", nullptr}});
}

Json CompletionObjects::last_chunk(const GenerationEnd& end) const {
  const char* word = finish_word(end.reason);
  if (chat_) return chunk_of({{"index", 0}, {"delta", Json::object()}, {"logprobs", nullptr}, {"finish_reason", word}});
  return chunk_of({{"index", 0}, {"text", ""}, {"logprobs", nullptr}, {"finish_reason", word}});
}

Json CompletionObjects::usage_chunk(const GenerationEnd& end) const {
  Json made = object(chat_ ? "chat.completion.chunk" : "text_completion", Json::array());
  made["usage"] = usage_of(end);
  return made;
}

}  // namespace espalier
