// The fields of a request's body: read by name and type; null is the same as not there.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/engine/server/api_error.h"

namespace espalier {

[[noreturn]] void wrong_field(const std::string& field, const std::string& expected, const Json& found);

class ApiFields {
 public:
  explicit ApiFields(const std::string& body);  // ApiError unless it is a JSON object

  const Json* find(const std::string& field);  // null: not there
  std::optional<int64_t> integer(const std::string& field, int64_t low, int64_t high);
  double number(const std::string& field, double low, double high, double otherwise);
  bool boolean(const std::string& field, bool otherwise = false);
  std::optional<std::string> text(const std::string& field);

  // Known, and without meaning here.
  void ignore(const std::vector<std::string>& fields);
  // Known, and not there unless it asks for nothing: one of these values, an empty list or object, or null.
  void only(const std::string& field, const std::vector<Json>& allowed, const std::string& why);
  void finish() const;  // ApiError for a field that nobody asked for

 private:
  Json body_;
  std::set<std::string> known_;
};

}  // namespace espalier
