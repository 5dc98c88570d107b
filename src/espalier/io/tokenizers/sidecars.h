// The small JSON files beside a tokenizer that say which tokens begin and end a text.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/io/tokenizers/pipeline.h"

namespace espalier::tok {

class Sidecars {
 public:
  // Reads tokenizer_config.json, special_tokens_map.json, generation_config.json, config.json and added_tokens.json
  // where they are there.
  explicit Sidecars(const std::filesystem::path& directory);

  // Of tokenizer_config.json.
  std::optional<bool> flag(const std::string& key) const;
  std::string tokenizer_class() const;
  std::string model_type() const;  // of config.json; "" where it is not said

  // Contents of the special tokens by role ("bos_token", …), those listed as additional included.
  std::vector<std::string> special_contents() const;
  std::vector<AddedToken> added_tokens() const;  // of added_tokens.json

  // Fills in bos, eos, pad, unk, mask and stop: named tokens first, then ids of the configurations. Names and ids outside the
  // vocabulary are passed over: a model's configuration may speak of a larger one.
  void apply_special_ids(Pipeline& pipeline) const;
  // add_bos_token and add_eos_token, for formats without a post-processor of their own.
  void apply_bos_eos_flags(Pipeline& pipeline) const;

 private:
  std::optional<std::string> content_of(const std::string& role) const;
  std::vector<int32_t> configured_ids(const std::string& key, const Pipeline& pipeline) const;
  struct File {
    std::string where;
    Json json;
  };
  File tokenizer_config_, special_tokens_, generation_, config_, added_;
};

// The files of a tokenizer that exist in the directory.
std::vector<std::filesystem::path> tokenizer_files(const std::filesystem::path& directory);

}  // namespace espalier::tok
