// Options that are one word of a few: from the word to the enumerator, with an error that lists the known words.
#pragma once

#include <fmt/ranges.h>

#include <string>
#include <utility>
#include <vector>

#include "espalier/core/error.h"

namespace espalier {

template <typename Enum, size_t N>
Enum choice_from_name(const std::string& option, const std::string& name,
                      const std::pair<const char*, Enum> (&known)[N]) {
  std::vector<std::string> names;
  for (const auto& [text, value] : known) {
    if (name == text) return value;
    names.emplace_back(text);
  }
  throw UserError(option, "value", fmt::format("one of {}", fmt::join(names, ", ")),
                  fmt::format("'{}'{}", printable(name), did_you_mean(name, names)));
}

template <typename Enum, size_t N>
std::string choice_name(Enum value, const std::pair<const char*, Enum> (&known)[N]) {
  for (const auto& [text, candidate] : known) {
    if (candidate == value) return text;
  }
  bug(__FILE__, __LINE__, "an enumerator without a name");
}

}  // namespace espalier
