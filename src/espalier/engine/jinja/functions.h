// What templates can call: filters, tests, methods of values, operators.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "espalier/engine/jinja/syntax.h"
#include "espalier/engine/jinja/value.h"

namespace espalier::jinja {

struct CallArguments {
  std::vector<Value> positional;
  Members named;

  const Value* find(size_t position, std::string_view name) const;  // null: not given
  const Value& at(size_t position, std::string_view name, const Budget& budget) const;
  int64_t integer(size_t position, std::string_view name, int64_t otherwise, const Budget& budget) const;
  bool truth(size_t position, std::string_view name) const;  // false if not given
};

Value apply_filter(const std::string& name, const Value& value, const CallArguments& arguments, Budget& budget);
bool apply_test(const std::string& name, const Value& value, const CallArguments& arguments, Budget& budget);

bool has_method(const Value& object, std::string_view name);
Value call_method(const Value& object, const std::string& name, const CallArguments& arguments, Budget& budget);

Value binary(const std::string& op, const Value& a, const Value& b, Budget& budget);
bool compare(const std::string& op, const Value& a, const Value& b, Budget& budget);
Value negated(const Value& value, Budget& budget);
Value attribute(const Value& object, const std::string& name, Budget& budget);
Value item(const Value& object, const Value& key, Budget& budget);
Value slice(const Value& object, const Value& begin, const Value& end, const Value& step, Budget& budget);

// What a loop over the value sees: items, keys, characters; nothing of an undefined value.
List elements(const Value& value, Budget& budget);
int64_t length(const Value& value, Budget& budget);
const std::string& text_of(const Value& value, Budget& budget);  // fails unless it is a text
Value made(std::string text, Budget& budget);                     // pays for it
// Pays for looking at all of a value: a list of a list twice, and so on, is exponentially larger than its memory.
void pay(const Value& value, Budget& budget);
std::string written(const Value& value, Budget& budget);  // to_text, paid before it is made

}  // namespace espalier::jinja
