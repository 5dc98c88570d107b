#include "espalier/cli/completion_script.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <utility>

namespace espalier {
namespace {

// What may stand for a value: words, and whether files too.
struct Candidates {
  std::vector<std::string> words;
  bool files = false;
};

Candidates candidates_of(const std::string& type, const CompletionWords& words) {
  if (type == "MODEL") return {words.models, true};
  if (type == "DATA") return {words.data, true};
  if (type == "METHOD") return {words.methods, false};
  if (type == "FILE" || type == "DIR") return {{}, true};
  if (type.find('|') == std::string::npos) return {};
  Candidates choices;
  for (size_t at = 0; at <= type.size();) {
    const size_t end = std::min(type.find('|', at), type.size());
    choices.words.push_back(type.substr(at, end - at));
    at = end + 1;
  }
  return choices;
}

// Only plain words enter a script: an asset's file name must not become shell code.
std::string joined(const std::vector<std::string>& words) {
  std::string list;
  for (const auto& word : words) {
    const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
      return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '+';
    });
    if (plain) list += (list.empty() ? "" : " ") + word;
  }
  return list;
}

std::string all_names(const CompletionVerb& verb) {
  std::string names;
  for (const auto& argument : verb.arguments)
    for (const auto& name : argument.names) names += (names.empty() ? "" : " ") + name;
  return names;
}

std::string bash_offer(const Candidates& candidates) {
  return fmt::format("_espalier_offer '{}' {}", joined(candidates.words), candidates.files ? "files" : "words");
}

std::string bash_verb(const CompletionVerb& verb, const CompletionWords& words) {
  std::string text = fmt::format("    {})\n      case \"$previous\" in\n", verb.name);
  std::string positional;
  for (const auto& argument : verb.arguments) {
    if (argument.names.empty()) {
      if (positional.empty()) positional = bash_offer(candidates_of(argument.type, words));
    } else if (!argument.type.empty()) {
      text += fmt::format("        {}) {}; return ;;\n", fmt::join(argument.names, "|"),
                          bash_offer(candidates_of(argument.type, words)));
    }
  }
  text += "      esac\n";
  text += fmt::format("      if [[ $word == -* ]]; then _espalier_offer '{}' words; return; fi\n", all_names(verb));
  if (!positional.empty()) text += "      " + positional + "\n";
  return text + "      ;;\n";
}

// Inside '…[help]': quotes end the word, brackets end the help, and a colon separates fields.
std::string zsh_text(const std::string& text) {
  std::string safe;
  for (char c : text) {
    if (c == '\'') {
      safe += "'\\''";
    } else {
      if (c == '[' || c == ']' || c == ':' || c == '\\') safe += '\\';
      safe += c;
    }
  }
  return safe;
}

std::string zsh_action(const Candidates& candidates) {
  const auto list = joined(candidates.words);
  if (candidates.files)
    return list.empty() ? "_files" : fmt::format("{{_alternative \"names:name:({})\" \"files:file:_files\"}}", list);
  return list.empty() ? " " : "(" + list + ")";
}

std::string zsh_argument(const CompletionArgument& argument, const CompletionWords& words) {
  const auto action = zsh_action(candidates_of(argument.type, words));
  const auto type = argument.type.find('|') == std::string::npos ? argument.type : "value";
  if (argument.names.empty()) return fmt::format("        '*:{}:{}' \\\n", zsh_text(type), action);
  std::string lines;
  for (const auto& name : argument.names) {
    lines += fmt::format("        '*{}[{}]{}' \\\n", name, zsh_text(argument.help),
                         argument.type.empty() ? "" : fmt::format(":{}:{}", zsh_text(type), action));
  }
  return lines;
}

std::string zsh_verb(const CompletionVerb& verb, const CompletionWords& words) {
  std::string text = fmt::format("    {})\n      _arguments \\\n", verb.name);
  bool has_positional = false;
  for (const auto& argument : verb.arguments) {
    if (argument.names.empty() && std::exchange(has_positional, true)) continue;
    text += zsh_argument(argument, words);
  }
  text.erase(text.size() - 3, 2);  // the last backslash
  return text + "      ;;\n";
}

}  // namespace

std::string bash_completion(const CompletionWords& words) {
  std::string names;
  for (const auto& verb : words.verbs) names += verb.name + " ";
  std::string text =
      "# bash completion for espalier; install with\n"
      "#   espalier completion bash > ~/.local/share/bash-completion/completions/espalier\n"
      "_espalier_offer() {\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$word\")\n"
      "  if [[ $2 == files ]]; then\n"
      "    compopt -o filenames 2>/dev/null\n"
      "    mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -f -- \"$word\")\n"
      "  fi\n"
      "}\n"
      "_espalier() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
      "  COMPREPLY=()\n"
      "  if ((COMP_CWORD == 1)); then _espalier_offer '" +
      names +
      "--help --version' words; return; fi\n"
      "  case \"${COMP_WORDS[1]}\" in\n";
  for (const auto& verb : words.verbs) text += bash_verb(verb, words);
  return text + "  esac\n}\ncomplete -F _espalier espalier\n";
}

std::string zsh_completion(const CompletionWords& words) {
  std::string text =
      "#compdef espalier\n"
      "# zsh completion for espalier; install with\n"
      "#   espalier completion zsh > ~/.zfunc/_espalier   (and ~/.zfunc in $fpath)\n"
      "_espalier() {\n"
      "  local -a verbs=(\n";
  for (const auto& verb : words.verbs) text += fmt::format("    '{}:{}'\n", verb.name, zsh_text(verb.summary));
  text +=
      "  )\n"
      "  if (( CURRENT == 2 )); then _describe verb verbs; return; fi\n"
      "  local verb=$words[2]\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $verb in\n";
  for (const auto& verb : words.verbs) text += zsh_verb(verb, words);
  return text +
         "  esac\n}\n"
         "if [[ $funcstack[1] == _espalier ]]; then _espalier \"$@\"; else compdef _espalier espalier; fi\n";
}

}  // namespace espalier
