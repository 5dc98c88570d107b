// Where two JSON values first differ.
#pragma once

#include <optional>
#include <string>

#include "espalier/core/json.h"

namespace espalier {

struct JsonDifference {
  std::string key;   // "recipe.steps[0].sparsity"
  Json left, right;  // null on the side that lacks it
};

// In the order of `left`; the order of keys means nothing. nullopt when equal.
std::optional<JsonDifference> first_difference(const Json& left, const Json& right, const std::string& key = "");

}  // namespace espalier
