// espalier generate MODEL --prompt TEXT
#include <utility>

#include "espalier/cli/console.h"
#include "espalier/cli/engine_options.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/core/log.h"
#include "espalier/engine/generate.h"

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
    add_text(app, "--prompt-file", prompt_file_, "FILE", "the same from a UTF-8 file; -: from standard input")->excludes(prompt);
    add_integer(app, "-n,--max-tokens", request_.max_tokens, 1, int64_t{1} << 30, "tokens to add at most");
    add_number(app, "--temperature", request_.temperature, 0, 100, "0: always the most probable token");
    add_integer(app, "--top-k", request_.top_k, 0, int64_t{1} << 30, "choose among the k most probable; 0: all");
    add_number(app, "--top-p", request_.top_p, 0, 1, "choose among those that make up this probability");
    add_number(app, "--min-p", request_.min_p, 0, 1, "leave out what is less probable than this share of the most probable");
    add_number(app, "--repetition-penalty", request_.repetition_penalty, 0.01, 100, "above 1: tokens that occurred become less probable");
    add_texts(app, "--stop", request_.stop, "TEXT", "ends the answer, and is not shown (repeatable)");
    app.add_flag("--chat", request_.chat, "the prompt is a user's message, put into the checkpoint's chat template");
    add_text(app, "--system", request_.system, "TEXT", "with --chat: the system's message before it");
    engine_.declare(app);
  }

  bool complete(CLI::App& app) override {
    if (app.count("--prompt") + app.count("--prompt-file") == 0) user_error("--prompt: missing (or --prompt-file)");
    if (prompt_file_ == "-") request_.prompt = read_stdin(kMostPromptBytes);
    else if (!prompt_file_.empty()) request_.prompt = read_file(prompt_file_, kMostPromptBytes);
    if (!is_valid_utf8(request_.prompt))
      user_error("{}: not valid UTF-8", prompt_file_.empty() ? "--prompt" : prompt_file_);
    if (!request_.system.empty() && !request_.chat) user_error("--system: belongs to --chat");
    request_.engine = engine_.request();
    return false;
  }

  Json run() override {
    resolve_model(request_.model);
    if (!wants_json())
      request_.on_text = [this, started = false](std::string_view piece) mutable {
        // not before the model is known to work
        if (!std::exchange(started, true) && !request_.chat) write_stdout(request_.prompt);
        write_stdout(piece);
      };
    return generate(request_);
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
  EngineOptions engine_;
};

GenerateVerb generate_verb;

}  // namespace
}  // namespace espalier
