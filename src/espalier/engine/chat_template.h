// The chat template of a checkpoint: messages become the text that the model was trained to continue. A bounded
// interpreter of the part of Jinja that such templates use, set up as Hugging Face sets it up (trim_blocks,
// lstrip_blocks, loop controls, raise_exception, strftime_now, tojson without escapes).
// Templates are hostile input: source, nesting, steps and text made are bounded, and nothing outside can be reached.
// Tuples are lists. Not there: include, extends, import, call, recursive loops, the % of strings; each is an error that names the line.
#pragma once

#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "espalier/core/json.h"

namespace espalier {

struct ChatInput {
  Json messages = Json::array();       // [{"role", "content", …}]
  bool add_generation_prompt = true;   // end with what an answer begins with
  Json variables = Json::object();     // further names that the template sees: tools, documents …
  std::optional<std::time_t> now;      // of strftime_now; none: the clock
};

// {"bos_token": "<s>", …}: what a checkpoint's tokenizer_config.json and special_tokens_map.json name.
Json special_tokens(const std::filesystem::path& directory);

// Immutable; one object may be used by any number of threads.
class ChatTemplate {
 public:
  // Of a checkpoint's directory: chat_template.jinja, else "chat_template" of tokenizer_config.json (a text, or a list of
  // {"name", "template"}: the one named "default"), with its special_tokens(). None: the checkpoint has none. UserError if
  // it is malformed.
  static std::optional<ChatTemplate> load(const std::filesystem::path& directory);
  // `where` names the template in errors.
  ChatTemplate(std::string_view source, const std::string& where, const Json& special_tokens = Json::object());
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // The text; its special tokens are written out, so encode it without adding any. UserError with the template's line,
  // also for what the template itself raises (as for roles that do not alternate).
  std::string render(const ChatInput& input) const;

 private:
  struct Parsed;
  std::unique_ptr<const Parsed> parsed_;
};

}  // namespace espalier
