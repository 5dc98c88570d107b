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

// These leave `value` as it is when the option is not given. UserError unless it is a finite number above 0, or not below.
template <typename T>
void read_number(const RepairSettings& given, const std::string& name, T& value, bool zero_allowed) {
  const auto found = given.find(name);
  if (found == given.end()) return;
  const auto& text = found->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0 || (zero_allowed && value == 0)) || value - value != 0)
    throw UserError("repair", "option repair." + name, zero_allowed ? "a number from 0 on" : "a positive number", printable(text));
}
template <typename T>
void read_positive(const RepairSettings& given, const std::string& name, T& value) {
  read_number(given, name, value, false);
}
template <typename T>
void read_from_zero(const RepairSettings& given, const std::string& name, T& value) {
  read_number(given, name, value, true);
}

// true or false.
void read_flag(const RepairSettings& given, const std::string& name, bool& value);

}  // namespace espalier
