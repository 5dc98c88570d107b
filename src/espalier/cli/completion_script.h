// Completion scripts, from a plain description of the verbs and their options.
#pragma once

#include <string>
#include <vector>

namespace espalier {

struct CompletionArgument {
  std::vector<std::string> names;  // "--out", "-o"; empty for a positional argument
  std::string help, type;          // type as the option's: MODEL, DATA, METHOD, FILE, DIR, "a|b|c"; "" for a flag
};

struct CompletionVerb {
  std::string name, summary;
  std::vector<CompletionArgument> arguments;
};

struct CompletionWords {
  std::vector<CompletionVerb> verbs;
  std::vector<std::string> models, data, methods;
};

std::string bash_completion(const CompletionWords& words);
std::string zsh_completion(const CompletionWords& words);

}  // namespace espalier
