#include "espalier/io/tokenizers/sidecars.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier::tok {
namespace {

constexpr const char* kRoles[] = {"bos_token", "eos_token", "pad_token", "unk_token",
                                  "cls_token", "sep_token", "mask_token"};

Json read_object(const std::filesystem::path& path) {
  constexpr uint64_t kMaxBytes = 64 << 20;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Json::object();
  Json json = read_json(path, kMaxBytes);
  if (!json.is_object()) throw UserError(path.string(), "top level", "an object", describe(json));
  return json;
}

// "</s>" or {"content": "</s>", …}
std::optional<std::string> token_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string())
    return value["content"].get<std::string>();
  return std::nullopt;
}

void append_new(std::vector<int32_t>& ids, int32_t id) {
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

}  // namespace

Sidecars::Sidecars(const std::filesystem::path& directory) {
  const auto file = [&](const char* name) { return File{(directory / name).string(), read_object(directory / name)}; };
  tokenizer_config_ = file("tokenizer_config.json");
  special_tokens_ = file("special_tokens_map.json");
  generation_ = file("generation_config.json");
  config_ = file("config.json");
  added_ = file("added_tokens.json");
}

std::optional<bool> Sidecars::flag(const std::string& key) const {
  const auto found = tokenizer_config_.json.find(key);
  if (found == tokenizer_config_.json.end() || found->is_null()) return std::nullopt;
  return json_bool_or(tokenizer_config_.json, key, tokenizer_config_.where, false);
}

std::string Sidecars::tokenizer_class() const {
  return json_string_or(tokenizer_config_.json, "tokenizer_class", tokenizer_config_.where, "");
}

std::string Sidecars::model_type() const { return json_string_or(config_.json, "model_type", config_.where, ""); }

std::optional<std::string> Sidecars::content_of(const std::string& role) const {
  for (const File* file : {&tokenizer_config_, &special_tokens_}) {
    const auto found = file->json.find(role);
    if (found == file->json.end() || found->is_null()) continue;
    if (auto text = token_text(*found)) return text;
    throw UserError(file->where, role, "a string or an object with content", describe(*found));
  }
  return std::nullopt;
}

std::vector<std::string> Sidecars::special_contents() const {
  std::vector<std::string> contents;
  const auto add = [&](std::string content) {
    if (std::find(contents.begin(), contents.end(), content) == contents.end()) contents.push_back(std::move(content));
  };
  for (const char* role : kRoles) {
    if (auto content = content_of(role)) add(std::move(*content));
  }
  for (const File* file : {&tokenizer_config_, &special_tokens_}) {
    const auto more = file->json.find("additional_special_tokens");
    if (more == file->json.end() || !more->is_array()) continue;
    for (const Json& item : *more) {
      if (auto content = token_text(item)) add(std::move(*content));
    }
  }
  return contents;
}

std::vector<AddedToken> Sidecars::added_tokens() const {
  std::vector<AddedToken> tokens;
  for (const auto& [content, id] : added_.json.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= INT32_MAX)
      throw UserError(added_.where, fmt::format("id of '{}'", printable(content)), "an id", describe(id));
    AddedToken token;
    token.content = content;
    token.id = id.get<int32_t>();
    tokens.push_back(std::move(token));
  }
  return tokens;
}

std::vector<int32_t> Sidecars::configured_ids(const std::string& key, const Pipeline& pipeline) const {
  std::vector<int32_t> ids;
  const auto add = [&](const Json& value) {
    const bool fits = value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() < INT32_MAX;
    if (fits && pipeline.token(value.get<int32_t>())) append_new(ids, value.get<int32_t>());
  };
  for (const File* file : {&generation_, &config_}) {
    const auto found = file->json.find(key);
    if (found == file->json.end()) continue;
    if (found->is_array()) {
      std::for_each(found->begin(), found->end(), add);
    } else {
      add(*found);
    }
  }
  return ids;
}

void Sidecars::apply_special_ids(Pipeline& pipeline) const {
  const auto set = [&](std::optional<int32_t>& id, const std::string& role) {
    const std::vector<int32_t> configured = configured_ids(role + "_id", pipeline);
    const auto content = content_of(role);
    const auto named = content ? pipeline.find(*content) : std::nullopt;
    if (named) {
      id = named;
    } else if (!configured.empty()) {
      id = configured.front();
    }
    return configured;
  };
  set(pipeline.special.bos, "bos_token");
  set(pipeline.special.pad, "pad_token");
  set(pipeline.special.unk, "unk_token");
  set(pipeline.special.mask, "mask_token");
  const std::vector<int32_t> ends = set(pipeline.special.eos, "eos_token");
  if (pipeline.special.eos) append_new(pipeline.special.stop, *pipeline.special.eos);
  for (int32_t id : ends) append_new(pipeline.special.stop, id);
}

void Sidecars::apply_bos_eos_flags(Pipeline& pipeline) const {
  const auto set = [&](std::vector<int32_t>& ids, const char* key, const std::optional<int32_t>& id) {
    const auto wanted = flag(key);
    if (!wanted) return;
    ids.clear();
    if (*wanted && !id) user_error("{}: {} is true, but there is no such token", tokenizer_config_.where, key);
    if (*wanted) ids.push_back(*id);
  };
  set(pipeline.post.prefix, "add_bos_token", pipeline.special.bos);
  set(pipeline.post.suffix, "add_eos_token", pipeline.special.eos);
}

std::vector<std::filesystem::path> tokenizer_files(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt", "tokenizer_config.json",
        "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json"}) {
    if (std::error_code error; std::filesystem::is_regular_file(directory / name, error))
      files.push_back(directory / name);
  }
  return files;
}

}  // namespace espalier::tok
