// espalier completion bash|zsh
#include "espalier/cli/completion_script.h"
#include "espalier/cli/lab.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"

namespace espalier {
namespace {

CompletionArgument argument_of(const CLI::Option& option) {
  CompletionArgument argument;
  for (const auto& name : option.get_lnames()) argument.names.push_back("--" + name);
  for (const auto& name : option.get_snames()) argument.names.push_back("-" + name);
  argument.help = option.get_description();
  if (option.get_items_expected_max() > 0) argument.type = option.get_type_name();
  return argument;
}

CompletionVerb describe_verb(Verb& verb) {
  CLI::App app;
  verb.fill(app);
  CompletionVerb result{verb.name(), verb.summary(), {}};
  for (const CLI::Option* option : app.get_options()) result.arguments.push_back(argument_of(*option));
  return result;
}

std::vector<std::string> method_ids() {
  std::vector<std::string> ids;
  try {
    for (const Json& method : lab().methods({})) ids.push_back(method.at("id").get<std::string>());
  } catch (const UserError& error) {
    warn("the completion has no method ids: {}", error.what());
  }
  return ids;
}

class CompletionVerbOfShells : public Verb {
 public:
  CompletionVerbOfShells()
      : Verb("completion", "a completion script for bash or zsh", "source <(espalier completion bash)") {}

 protected:
  void declare(CLI::App& app) override { add_choice(app, "SHELL", shell_, {"bash", "zsh"}, "which shell")->required(); }

  Json run() override {
    CompletionWords words;
    for (Verb* verb : verbs()) words.verbs.push_back(describe_verb(*verb));
    words.models = embedded_models();
    words.data = embedded_data();
    words.methods = method_ids();
    return {{"shell", shell_}, {"script", shell_ == "bash" ? bash_completion(words) : zsh_completion(words)}};
  }

  std::string text(const Json& result) override { return result["script"].get<std::string>(); }

 private:
  std::string shell_;
};

CompletionVerbOfShells completion_verb;

}  // namespace
}  // namespace espalier
