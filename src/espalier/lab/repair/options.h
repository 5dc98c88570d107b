// Options of a repair ("repair.NAME" on the command line): names and numbers, checked as they are read.
#pragma once

#include <charconv>
#include <map>
#include <string>
#include <vector>

#include "espalier/core/error.h"

namespace espalier {

using RepairSettings = std::map<std::string, std::string>;

// UserError naming the first option that is not among `known`.
void require_known(const RepairSettings& given, const std::vector<std::string>& known);

// Leaves `value` as it is when the option is not given. UserError unless it is a positive, finite number.
template <typename T>
void read_positive(const RepairSettings& given, const std::string& name, T& value) {
  const auto found = given.find(name);
  if (found == given.end()) return;
  const auto& text = found->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0) || value - value != 0)
    throw UserError("repair", "option repair." + name, "a positive number", printable(text));
}

}  // namespace espalier
