#include "espalier/engine/chat_template.h"

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/engine/jinja/parser.h"
#include "espalier/engine/jinja/render.h"

namespace espalier {
namespace {

constexpr uint64_t kMostSourceBytes = 1u << 20, kMostConfigBytes = 64u << 20;
constexpr const char *kDefaultName = "default", *kConfigName = "tokenizer_config.json";

std::string normalized(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();  // Jinja drops one
  return text;
}

// Special tokens are texts or {"content": text}.
void add_special_tokens(Json& tokens, const Json& config) {
  if (!config.is_object()) return;
  for (const auto& [key, value] : config.items()) {
    if (!key.ends_with("_token")) continue;
    if (value.is_string()) tokens[key] = value;
    else if (value.is_object() && value.contains("content") && value["content"].is_string()) tokens[key] = value["content"];
  }
}

Json read_if_there(const std::filesystem::path& path) {
  return std::filesystem::is_regular_file(path) ? read_json(path, kMostConfigBytes) : Json();
}

std::optional<std::string> source_in(const Json& config, const std::string& where) {
  const auto at = config.find("chat_template");
  if (at == config.end() || at->is_null()) return std::nullopt;
  if (at->is_string()) return at->get<std::string>();
  if (!at->is_array()) throw UserError(where, "chat_template", "a text or a list of named ones", describe(*at));
  for (const Json& named : *at)
    if (named.is_object() && named.value("name", Json()) == kDefaultName) return json_string(named, "template", where);
  throw UserError(where, "chat_template", "one named \"default\"", "none");
}

}  // namespace

Json special_tokens(const std::filesystem::path& directory) {
  Json tokens = Json::object();
  for (const char* name : {"special_tokens_map.json", kConfigName}) add_special_tokens(tokens, read_if_there(directory / name));
  return tokens;
}

struct ChatTemplate::Parsed {
  std::string where;
  jinja::Body body;
  jinja::Members variables;
};

ChatTemplate::ChatTemplate(std::string_view source, const std::string& where, const Json& tokens) {
  if (source.size() > kMostSourceBytes)
    throw UserError(where, "chat template", fmt::format("at most {} bytes", kMostSourceBytes), fmt::format("{}", source.size()));
  if (!is_valid_utf8(source)) user_error("{}: chat template: not valid UTF-8", where);
  auto parsed = std::make_unique<Parsed>();
  parsed->where = where;
  jinja::Budget budget(where);
  parsed->body = jinja::parse(normalized(source), budget);
  for (const auto& [key, value] : tokens.items()) parsed->variables.emplace_back(key, jinja::from_json(value));
  parsed_ = std::move(parsed);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::optional<ChatTemplate> ChatTemplate::load(const std::filesystem::path& directory) {
  const auto config_path = directory / kConfigName, own_path = directory / "chat_template.jinja";
  const Json tokens = special_tokens(directory), config = read_if_there(config_path);
  if (std::filesystem::is_regular_file(own_path))
    return ChatTemplate(read_file(own_path, kMostSourceBytes), own_path.string(), tokens);
  if (!config.is_object()) return std::nullopt;
  const auto source = source_in(config, config_path.string());
  if (!source) return std::nullopt;
  return ChatTemplate(*source, config_path.string() + ": chat_template", tokens);
}

std::string ChatTemplate::render(const ChatInput& input) const {
  jinja::Budget budget(parsed_->where);
  jinja::Members variables = parsed_->variables;
  for (const char* optional : {"tools", "documents"})
    if (!input.variables.contains(optional)) variables.emplace_back(optional, jinja::None{});
  for (const auto& [key, value] : input.variables.items()) variables.emplace_back(key, jinja::from_json(value));
  variables.emplace_back("messages", jinja::from_json(input.messages));
  variables.emplace_back("add_generation_prompt", input.add_generation_prompt);
  return jinja::render(parsed_->body, variables, input.now.value_or(std::time(nullptr)), budget);
}

}  // namespace espalier
