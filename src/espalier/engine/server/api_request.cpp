#include "espalier/engine/server/api_request.h"

#include "espalier/core/error.h"
#include "espalier/engine/server/api_fields.h"

namespace espalier {
namespace {

constexpr size_t kMostStops = 16, kMostStopBytes = 1000;
constexpr int64_t kCompletionTokens = 16;  // the interface's own default

void read_stop(ApiFields& fields, std::vector<std::string>& stop) {
  const Json* found = fields.find("stop");
  if (!found) return;
  const std::string expected = fmt::format("a string, or up to {} of them, of 1 to {} bytes", kMostStops, kMostStopBytes);
  const Json list = found->is_array() ? *found : Json::array({*found});
  if (list.size() > kMostStops) wrong_field("stop", expected, *found);
  for (const Json& one : list) {
    if (!one.is_string() || one.get<std::string>().empty() || one.get<std::string>().size() > kMostStopBytes) wrong_field("stop", expected, one);
    stop.push_back(one.get<std::string>());
  }
}

SamplingOptions read_sampling(ApiFields& fields) {
  SamplingOptions sampling;
  sampling.temperature = fields.number("temperature", 0, 2, 1);
  sampling.top_p = fields.number("top_p", 0, 1, 1);
  sampling.top_k = std::max<int64_t>(0, fields.integer("top_k", -1, INT64_MAX).value_or(0));
  sampling.min_p = fields.number("min_p", 0, 1, 0);
  sampling.repetition_penalty = fields.number("repetition_penalty", 0.01, 100, 1);
  sampling.frequency_penalty = fields.number("frequency_penalty", -2, 2, 0);
  sampling.presence_penalty = fields.number("presence_penalty", -2, 2, 0);
  return sampling;
}

std::string option_text(const std::string& field, const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  wrong_field(field, "a number, a string, true or false", value);
}

void read_attention(ApiFields& fields, AttentionRequest& attention) {
  if (auto policy = fields.text("policy")) {
    attention.policy = *policy;
    attention.options.clear();
  }
  if (const Json* options = fields.find("policy_options")) {
    if (!options->is_object()) wrong_field("policy_options", "an object", *options);
    for (const auto& [name, value] : options->items()) attention.options[name] = option_text("policy_options." + name, value);
  }
  if (const auto budget = fields.integer("budget", 1, INT64_MAX)) attention.options["budget"] = std::to_string(*budget);
  if (const auto cache = fields.text("cache")) {
    if (*cache != "fp32" && *cache != "bf16" && *cache != "int8") wrong_field("cache", "\"fp32\", \"bf16\" or \"int8\"", *cache);
    attention.codec = *cache == "fp32" ? KvCodec::kF32 : *cache == "bf16" ? KvCodec::kBF16 : KvCodec::kI8;
  }
}

void read_stream(ApiFields& fields, ApiRequest& request) {
  request.stream = fields.boolean("stream");
  const Json* options = fields.find("stream_options");
  if (!options) return;
  if (!request.stream) throw ApiError(400, "stream_options: belongs to \"stream\": true", "stream_options");
  if (!options->is_object()) wrong_field("stream_options", "an object", *options);
  const Json usage = options->value("include_usage", Json(false));
  if (!usage.is_boolean()) wrong_field("stream_options.include_usage", "true or false", usage);
  request.include_usage = usage.get<bool>();
}

// All that the two bodies have in common, but for the prompt.
void read_common(ApiFields& fields, const ApiContext& context, ApiRequest& request) {
  request.model = fields.text("model").value_or("");
  request.generation.sampling = read_sampling(fields);
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX)) {
    request.seeded = true;
    request.generation.seed = static_cast<uint64_t>(*seed);
  }
  request.generation.ignore_stop_ids = fields.boolean("ignore_eos");
  read_stop(fields, request.generation.stop);
  request.generation.attention = context.attention;
  read_attention(fields, request.generation.attention);
  read_stream(fields, request);
  fields.only("n", {1}, "one answer a request is what there is");
  fields.only("logit_bias", {}, "not supported");
  fields.ignore({"user", "store", "metadata", "service_tier"});
}

void check_length(const ApiRequest& request, const ApiContext& context) {
  const auto length = static_cast<int64_t>(request.generation.prompt.size());
  if (length == 0) throw ApiError(400, "the prompt has no tokens", request.chat ? "messages" : "prompt");
  if (length >= context.context_length)
    throw ApiError(400, fmt::format("the prompt has {} tokens, and the model's context is {}", length, context.context_length),
                   request.chat ? "messages" : "prompt", "context_length_exceeded");
}

std::vector<int32_t> prompt_ids(const Json& prompt, const Tokenizer& tokenizer) {
  if (prompt.is_string()) return tokenizer.encode(prompt.get<std::string>(), true);
  if (prompt.is_array() && prompt.size() == 1 && !prompt[0].is_number()) return prompt_ids(prompt[0], tokenizer);
  if (!prompt.is_array() || prompt.empty() || !prompt[0].is_number()) wrong_field("prompt", "one text, or the ids of one", prompt);
  std::vector<int32_t> ids;
  for (const Json& id : prompt) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= tokenizer.vocab_size())
      wrong_field("prompt", fmt::format("ids from 0 to {}", tokenizer.vocab_size() - 1), id);
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

// Parts of type "text" become one text: that is what templates of language models take.
Json message_content(const Json& content, const std::string& field) {
  if (content.is_string() || content.is_null()) return content;
  if (!content.is_array()) wrong_field(field, "a string or a list of parts", content);
  std::string text;
  for (const Json& part : content) {
    const bool good = part.is_object() && part.value("type", Json()) == "text" && part.contains("text") && part["text"].is_string();
    if (!good) wrong_field(field, "parts {\"type\": \"text\", \"text\": …}", part);
    text += part["text"].get<std::string>();
  }
  return text;
}

Json read_messages(const Json* found) {
  if (!found) throw ApiError(400, "messages: missing", "messages");
  if (!found->is_array() || found->empty()) wrong_field("messages", "a list of at least one message", *found);
  Json messages = *found;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string field = fmt::format("messages[{}]", i);
    if (!messages[i].is_object()) wrong_field(field, "an object", messages[i]);
    const Json role = messages[i].value("role", Json());
    if (!role.is_string()) wrong_field(field + ".role", "a string", role);
    if (!messages[i].contains("content") && !messages[i].contains("tool_calls")) wrong_field(field + ".content", "a string", Json());
    if (messages[i].contains("content")) messages[i]["content"] = message_content(messages[i]["content"], field + ".content");
  }
  return messages;
}

}  // namespace

ApiRequest parse_completion(const std::string& body, const ApiContext& context) {
  ApiFields fields(body);
  ApiRequest request;
  read_common(fields, context, request);
  request.generation.max_tokens = fields.integer("max_tokens", 1, INT64_MAX).value_or(kCompletionTokens);
  fields.only("best_of", {1}, "one answer a request is what there is");
  fields.only("echo", {false}, "not supported");
  fields.only("logprobs", {}, "not supported");
  fields.only("suffix", {""}, "not supported");
  const Json* prompt = fields.find("prompt");
  fields.finish();
  if (!prompt) throw ApiError(400, "prompt: missing", "prompt");
  request.generation.prompt = prompt_ids(*prompt, *context.tokenizer);
  check_length(request, context);
  return request;
}

ApiRequest parse_chat_completion(const std::string& body, const ApiContext& context) {
  ApiFields fields(body);
  ApiRequest request;
  request.chat = true;
  read_common(fields, context, request);
  const auto most = fields.integer("max_tokens", 1, INT64_MAX), completion = fields.integer("max_completion_tokens", 1, INT64_MAX);
  request.generation.max_tokens = completion ? *completion : most.value_or(context.context_length);
  fields.only("logprobs", {false}, "not supported");
  for (const char* field : {"top_logprobs", "tools", "functions", "modalities", "audio", "prediction", "web_search_options"}) fields.only(field, {}, "not supported");
  fields.only("tool_choice", {"none", "auto"}, "not supported");
  fields.only("function_call", {"none", "auto"}, "not supported");
  fields.only("response_format", {{{"type", "text"}}}, "only text");
  fields.ignore({"parallel_tool_calls", "reasoning_effort"});
  ChatInput input;
  input.messages = read_messages(fields.find("messages"));
  fields.finish();
  if (!context.chat) throw ApiError(400, "this model has no chat template: use /v1/completions, or start the server with --chat-template FILE", "messages");
  std::string text;
  try {
    text = context.chat->render(input);
  } catch (const UserError& error) {
    throw ApiError(400, error.what(), "messages");
  }
  request.generation.prompt = context.tokenizer->encode(text, false);  // templates write the special tokens themselves
  check_length(request, context);
  return request;
}

}  // namespace espalier
