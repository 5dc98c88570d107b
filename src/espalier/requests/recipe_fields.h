// Reading the maps of a recipe: what is missing, unknown or of another type is said with its place.
#pragma once

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/requests/recipe.h"

namespace espalier {

constexpr int64_t kMostInRecipe = int64_t{1} << 40;

// One map of a recipe. Each reader leaves its target alone when the key is absent.
class RecipeFields {
 public:
  RecipeFields(const Json& object, std::string where, std::vector<std::string> known)
      : object_(object), where_(std::move(where)) {
    if (!object.is_object())
      throw UserError(where_, "value", fmt::format("a map of {}", fmt::join(known, ", ")), describe(object));
    for (const auto& [key, value] : object.items())
      if (std::find(known.begin(), known.end(), key) == known.end())
        user_error("{}: unknown key '{}'{}; known: {}", where_, printable(key), did_you_mean(key, known),
                   fmt::join(known, ", "));
  }

  const Json* find(const std::string& key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  void text(const std::string& key, std::string& target) const {
    if (const Json* value = find(key)) target = as_text(key, *value);
  }

  void word(const std::string& key, const std::vector<std::string>& known, std::string& target) const {
    const Json* value = find(key);
    if (!value) return;
    target = as_text(key, *value);
    if (std::find(known.begin(), known.end(), target) == known.end())
      fail(key, fmt::format("one of {}", fmt::join(known, ", ")), describe(*value) + did_you_mean(target, known));
  }

  template <typename T>
  void integer(const std::string& key, int64_t low, int64_t high, T& target) const {
    const Json* value = find(key);
    if (!value) return;
    const auto number = parsed<int64_t>(*value);
    if (!number || *number < low || *number > high)
      fail(key, fmt::format("an integer from {} to {}", low, high), describe(*value));
    target = static_cast<T>(*number);
  }

  void share(const std::string& key, std::optional<double>& target) const {
    const Json* value = find(key);
    if (!value) return;
    const auto number = parsed<double>(*value);
    if (!number || !(*number >= 0 && *number < 1)) fail(key, "a number in [0, 1)", describe(*value));
    target = *number;
  }

  void flag(const std::string& key, bool& target) const {
    std::string text = target ? "true" : "false";
    if (const Json* value = find(key); value && value->is_boolean())
      text = value->dump();
    else
      word(key, {"true", "false"}, text);
    target = text == "true";
  }

  std::string place(const std::string& key) const { return where_ + ": " + key; }

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& expected, const std::string& found) const {
    throw UserError(where_, key, expected, found);
  }

  std::string as_text(const std::string& key, const Json& value) const {
    if (!value.is_string()) fail(key, "a word", describe(value));
    return value.get<std::string>();
  }

  template <typename T>
  static std::optional<T> parsed(const Json& value) {
    if (!value.is_string()) return std::nullopt;
    const auto& text = value.get_ref<const std::string&>();
    T number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
  }

  const Json& object_;
  std::string where_;
};

// {method, sparsity, of, pattern, repair, set}
StepRequest read_step(const Json& value, const std::string& where);
// Values as text, by name: {lr: 0.1, epochs: 3}; key: what the map is called.
MethodOptions read_settings(const Json& value, const std::string& where, const std::string& key);

// seed, threads, device, dtype, input_shapes.
extern const std::vector<std::string> kCommonKeys;
void read_common(const RecipeFields& fields, const std::string& where, CommonRequest& common);

}  // namespace espalier
