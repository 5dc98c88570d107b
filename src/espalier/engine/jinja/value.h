// Values of chat templates: Python's, as far as templates use them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "espalier/core/json.h"

namespace espalier::jinja {

class Value;
struct Statement;
using List = std::vector<Value>;
using Members = std::vector<std::pair<std::string, Value>>;  // in order of insertion

struct Undefined {
  std::string name;  // for the message of whoever uses it
  bool operator==(const Undefined&) const { return true; }
};
struct None {
  bool operator==(const None&) const = default;
};
struct Namespace {  // the one value that templates change
  Members members;
};
struct Function {  // a global or a macro
  std::string name;
  const Statement* macro = nullptr;
};

// Texts, lists and dictionaries are shared and never change.
class Value {
 public:
  using Text = std::shared_ptr<const std::string>;
  using Items = std::shared_ptr<const List>;
  using Dict = std::shared_ptr<const Members>;
  using Variant = std::variant<Undefined, None, bool, int64_t, double, Text, Items, Dict, std::shared_ptr<Namespace>, Function>;

  Value() : data_(Undefined{}) {}
  template <typename T>
    requires(!std::is_same_v<std::decay_t<T>, Value> && std::is_constructible_v<Variant, T>)
  Value(T&& data) : data_(std::forward<T>(data)) {}
  Value(int data) : data_(int64_t{data}) {}
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(List items) : data_(std::make_shared<const List>(std::move(items))) {}
  Value(Members members) : data_(std::make_shared<const Members>(std::move(members))) {}

  template <typename T>
  bool is() const {
    return std::holds_alternative<T>(data_);
  }
  bool is_text() const { return is<Text>(); }
  bool is_list() const { return is<Items>(); }
  bool is_dict() const { return is<Dict>(); }
  bool is_undefined() const { return is<Undefined>(); }
  bool is_number() const { return is<int64_t>() || is<double>() || is<bool>(); }
  bool is_integer() const { return is<int64_t>() || is<bool>(); }

  const std::string& text() const { return *std::get<Text>(data_); }
  const List& items() const { return *std::get<Items>(data_); }
  const Members& members() const { return *std::get<Dict>(data_); }
  int64_t integer() const { return is<bool>() ? std::get<bool>(data_) : std::get<int64_t>(data_); }
  double number() const { return is<double>() ? std::get<double>(data_) : static_cast<double>(integer()); }
  template <typename T>
  const T& get() const {
    return std::get<T>(data_);
  }

  bool truth() const;
  std::string type_name() const;             // for messages: "a string", "a list"
  const Value* find(std::string_view key) const;  // of a dictionary or namespace; null: none

 private:
  Variant data_;
};

Value from_json(const Json& json);
bool equal(const Value& a, const Value& b);
// str() and repr(); texts inside containers are quoted as Python quotes them.
std::string to_text(const Value& value);
std::string to_repr(const Value& value);
// json.dumps(value, ensure_ascii=False); indent < 0: on one line. False: a value that JSON has no form for.
bool append_json(std::string& out, const Value& value, int indent, bool sort_keys, int depth = 0);

}  // namespace espalier::jinja
