// espalier generate MODEL --prompt TEXT
#include <utility>

#include "espalier/cli/console.h"
#include "espalier/cli/lab.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/core/log.h"

namespace espalier {
namespace {

constexpr uint64_t kMostPromptBytes = 256u << 20;

class GenerateVerb : public Verb {
 public:
  GenerateVerb()
      : Verb("generate", "text from a language model", "espalier generate {model} --prompt \"Once upon a time\"") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    add_model(app, request_.model)->required();
    auto* prompt = add_text(app, "-p,--prompt", request_.prompt, "TEXT", "what the text begins with");
    add_text(app, "--prompt-file", prompt_file_, "FILE", "the same from a UTF-8 file")->excludes(prompt);
    add_integer(app, "-n,--max-tokens", request_.max_tokens, 1, int64_t{1} << 30, "tokens to add at most");
    add_number(app, "--temperature", request_.temperature, 0, 100, "0: always the most probable token");
    add_integer(app, "--top-k", request_.top_k, 0, int64_t{1} << 30, "choose among the k most probable; 0: all");
    add_number(app, "--top-p", request_.top_p, 0, 1, "choose among those that make up this probability");
    add_text(app, "--policy", request_.policy, "METHOD", "attention policy; by default dense");
    add_texts(app, "--set", settings_, "NAME=VALUE", "an option of the policy (repeatable)");
  }

  bool complete(CLI::App& app) override {
    if (app.count("--prompt") + app.count("--prompt-file") == 0) user_error("--prompt: missing (or --prompt-file)");
    if (!prompt_file_.empty()) request_.prompt = read_file(prompt_file_, kMostPromptBytes);
    if (!is_valid_utf8(request_.prompt))
      user_error("{}: not valid UTF-8", prompt_file_.empty() ? "--prompt" : prompt_file_);
    request_.options = parse_settings(settings_);
    if (!request_.options.empty() && request_.policy.empty())
      user_error("--set: options belong to a policy; name it with --policy");
    return false;
  }

  Json run() override {
    resolve_model(request_.model);
    if (!wants_json())
      request_.on_text = [this, started = false](std::string_view piece) mutable {
        if (!std::exchange(started, true)) write_stdout(request_.prompt);  // not before the model is known to work
        write_stdout(piece);
      };
    return lab().generate(request_);
  }

  // The words are already on the screen, piece by piece.
  std::string text(const Json& result) override {
    if (result.contains("decode_tok_s"))
      inform("{} tokens, {} tokens/s", shown(result.value("tokens", Json())), shown(result["decode_tok_s"]));
    return "\n";
  }

 private:
  GenerateRequest request_;
  std::string prompt_file_;
  std::vector<std::string> settings_;
};

GenerateVerb generate_verb;

}  // namespace
}  // namespace espalier
