#include "espalier/core/json_difference.h"

#include <fmt/format.h>

namespace espalier {
namespace {

std::string join(const std::string& parent, const std::string& key) {
  return parent.empty() ? key : fmt::format("{}.{}", parent, key);
}

std::optional<JsonDifference> of_objects(const Json& left, const Json& right, const std::string& key) {
  for (const auto& [name, value] : left.items()) {
    if (!right.contains(name)) return JsonDifference{join(key, name), value, nullptr};
    if (auto found = first_difference(value, right.at(name), join(key, name))) return found;
  }
  for (const auto& [name, value] : right.items())
    if (!left.contains(name)) return JsonDifference{join(key, name), nullptr, value};
  return std::nullopt;
}

}  // namespace

std::optional<JsonDifference> first_difference(const Json& left, const Json& right, const std::string& key) {
  if (left.is_object() && right.is_object()) return of_objects(left, right, key);
  if (left.is_array() && right.is_array() && left.size() == right.size()) {
    for (size_t i = 0; i < left.size(); ++i)
      if (auto found = first_difference(left[i], right[i], fmt::format("{}[{}]", key, i))) return found;
    return std::nullopt;
  }
  if (left == right) return std::nullopt;
  return JsonDifference{key, left, right};
}

}  // namespace espalier
