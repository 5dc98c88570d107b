// Filters and tests.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>

#include "espalier/core/error.h"
#include "espalier/engine/jinja/functions.h"
#include "espalier/engine/jinja/text.h"

namespace espalier::jinja {
namespace {

using Filter = std::function<Value(const Value&, const CallArguments&, Budget&)>;

Filter on_text(std::string (*change)(std::string_view)) {
  return [change](const Value& value, const CallArguments&, Budget& budget) { return made(change(written(value, budget)), budget); };
}

// "function.name" or an index, as filters name what they look at.
Value at_path(const Value& value, const Value& path, Budget& budget) {
  if (path.is_integer()) return item(value, path, budget);
  Value found = value;
  for (const std::string_view part : split(text_of(path, budget), "."))
    found = all_digits(part) && part.size() < 10 ? item(found, int64_t{std::stol(std::string(part))}, budget) : item(found, part, budget);
  return found;
}

Value trim(const Value& value, const CallArguments& arguments, Budget& budget) {
  const std::string text = written(value, budget);
  const Value* set = arguments.find(0, "chars");
  return made(std::string(set && !set->is<None>() ? strip(text, text_of(*set, budget)) : strip(text)), budget);
}

Value to_json(const Value& value, const CallArguments& arguments, Budget& budget) {
  std::string out;
  const int64_t indent = arguments.integer(0, "indent", -1, budget);
  if (indent > 64) budget.fail("tojson: indent: expected at most 64");
  pay(value, budget);
  if (!append_json(out, value, static_cast<int>(indent), arguments.truth(9, "sort_keys")))
    budget.fail("tojson: a value that JSON has no form for");
  return made(std::move(out), budget);
}

Value with_default(const Value& value, const CallArguments& arguments, Budget&) {
  const bool replace = value.is_undefined() || (arguments.truth(1, "boolean") && !value.truth());
  if (!replace) return value;
  const Value* otherwise = arguments.find(0, "default_value");
  return otherwise ? *otherwise : Value("");
}

Value join(const Value& value, const CallArguments& arguments, Budget& budget) {
  const Value *separator = arguments.find(0, "d"), *path = arguments.find(1, "attribute");
  const std::string between = separator ? written(*separator, budget) : "";
  std::string out;
  bool first = true;
  for (const Value& part : elements(value, budget)) {
    if (!std::exchange(first, false)) out += between;
    const std::string text = written(path ? at_path(part, *path, budget) : part, budget);
    budget.text(between.size() + text.size());
    out += text;
  }
  return out;
}

template <bool last>
Value end_of(const Value& value, const CallArguments&, Budget& budget) {
  const List all = elements(value, budget);
  return all.empty() ? Value(Undefined{last ? "last" : "first"}) : last ? all.back() : all.front();
}

CallArguments rest_of(const CallArguments& arguments, size_t used) {
  CallArguments rest;
  for (size_t i = used; i < arguments.positional.size(); ++i) rest.positional.push_back(arguments.positional[i]);
  rest.named = arguments.named;
  return rest;
}

Value map_items(const Value& value, const CallArguments& arguments, Budget& budget) {
  const Value* path = arguments.find(SIZE_MAX, "attribute");
  const Value* otherwise = arguments.find(SIZE_MAX, "default");
  List items = elements(value, budget);
  const CallArguments rest = rest_of(arguments, 1);
  for (Value& one : items) {
    one = path ? at_path(one, *path, budget) : apply_filter(text_of(arguments.at(0, "filter", budget), budget), one, rest, budget);
    if (otherwise && one.is_undefined()) one = *otherwise;
  }
  return items;
}

template <bool keep, bool by_attribute>
Value select(const Value& value, const CallArguments& arguments, Budget& budget) {
  constexpr size_t kTest = by_attribute ? 1 : 0;
  const Value* test = arguments.find(kTest, "test");
  const CallArguments rest = rest_of(arguments, kTest + 1);
  List kept;
  for (const Value& one : elements(value, budget)) {
    const Value looked_at = by_attribute ? at_path(one, arguments.at(0, "attribute", budget), budget) : one;
    if ((test ? apply_test(text_of(*test, budget), looked_at, rest, budget) : looked_at.truth()) == keep) kept.push_back(one);
  }
  return kept;
}

Value to_integer(const Value& value, const CallArguments& arguments, Budget& budget) {
  if (value.is_integer()) return value.integer();
  const int64_t otherwise = arguments.integer(0, "default", 0, budget);
  double number = 0;
  if (value.is_number()) number = value.number();
  else if (!value.is_text()) return otherwise;
  else {
    std::string_view text = strip(value.text());
    if (text.starts_with('+')) text.remove_prefix(1);
    int64_t whole = 0;
    if (auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole); error == std::errc() && end == text.data() + text.size()) return whole;
    if (auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number); error != std::errc() || end != text.data() + text.size()) return otherwise;
  }
  return std::abs(number) < 9e18 ? static_cast<int64_t>(number) : otherwise;
}

Value to_float(const Value& value, const CallArguments& arguments, Budget&) {
  if (value.is_number()) return value.number();
  const Value* given = arguments.find(0, "default");
  const Value otherwise = given ? *given : Value(0.0);
  if (!value.is_text()) return otherwise;
  const std::string_view text = strip(value.text());
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? Value(number) : otherwise;
}

bool before(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  if (a.is_text() && b.is_text()) return lower(a.text()) < lower(b.text());
  return compare("<", a, b, budget);
}

Value sorted(const Value& value, const CallArguments& arguments, Budget& budget) {
  List items = elements(value, budget);
  const Value* path = arguments.find(2, "attribute");
  const auto key = [&](const Value& one) { return path ? at_path(one, *path, budget) : one; };
  const bool reverse = arguments.truth(0, "reverse");
  std::stable_sort(items.begin(), items.end(), [&](const Value& a, const Value& b) {
    return reverse ? before(key(b), key(a), budget) : before(key(a), key(b), budget);
  });
  return items;
}

Value unique(const Value& value, const CallArguments&, Budget& budget) {
  List kept;
  for (const Value& one : elements(value, budget)) {
    budget.step(kept.size());
    pay(one, budget);
    const auto same = [&](const Value& other) {
      return one.is_text() && other.is_text() ? lower(one.text()) == lower(other.text()) : equal(one, other);
    };
    if (std::none_of(kept.begin(), kept.end(), same)) kept.push_back(one);
  }
  return kept;
}

Value reversed(const Value& value, const CallArguments&, Budget& budget) {
  return slice(value, Undefined{}, Undefined{}, -1, budget);
}

Value items_of(const Value& value, const CallArguments&, Budget& budget) {
  if (value.is_undefined()) return List{};
  if (!value.is_dict()) budget.fail("items of " + value.type_name());
  return call_method(value, "items", {}, budget);
}

Value sum(const Value& value, const CallArguments& arguments, Budget& budget) {
  const Value* path = arguments.find(0, "attribute");
  Value total = 0;
  for (const Value& one : elements(value, budget)) total = binary("+", total, path ? at_path(one, *path, budget) : one, budget);
  return total;
}

Value indent(const Value& value, const CallArguments& arguments, Budget& budget) {
  const Value* width = arguments.find(0, "width");
  const int64_t spaces = width && width->is_integer() ? width->integer() : 4;
  if (spaces < 0 || spaces > 1000) budget.fail("indent: expected a width of 0 to 1000");
  const std::string by = width && width->is_text() ? width->text() : std::string(static_cast<size_t>(spaces), ' ');
  const std::string text = written(value, budget);
  budget.text(text.size() + by.size() * static_cast<size_t>(std::count(text.begin(), text.end(), '\n')));
  return made(indented(text, by, arguments.truth(1, "first"), arguments.truth(2, "blank")), budget);
}

Value absolute(const Value& value, const CallArguments&, Budget& budget) {
  return compare("<", value, 0, budget) ? negated(value, budget) : value;
}

Value replace(const Value& value, const CallArguments& arguments, Budget& budget) {
  return call_method(written(value, budget), "replace", arguments, budget);
}

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> all = {
      {"trim", trim}, {"tojson", to_json}, {"default", with_default}, {"d", with_default}, {"join", join},
      {"length", [](const Value& v, const CallArguments&, Budget& b) { return length(v, b); }},
      {"count", [](const Value& v, const CallArguments&, Budget& b) { return length(v, b); }},
      {"upper", on_text(upper)}, {"lower", on_text(lower)}, {"title", on_text(titled_after_spaces)},
      {"capitalize", on_text(capitalized)}, {"first", end_of<false>}, {"last", end_of<true>},
      {"list", [](const Value& v, const CallArguments&, Budget& b) { return Value(elements(v, b)); }},
      {"map", map_items}, {"select", select<true, false>}, {"reject", select<false, false>},
      {"selectattr", select<true, true>}, {"rejectattr", select<false, true>}, {"replace", replace},
      {"string", [](const Value& v, const CallArguments&, Budget& b) { return made(written(v, b), b); }},
      {"safe", [](const Value& v, const CallArguments&, Budget& b) { return made(written(v, b), b); }},
      {"int", to_integer}, {"float", to_float}, {"abs", absolute}, {"sort", sorted}, {"unique", unique},
      {"reverse", reversed}, {"items", items_of}, {"sum", sum}, {"indent", indent},
      {"dictsort", [](const Value& v, const CallArguments&, Budget& b) {
         return sorted(items_of(v, {}, b), {{}, {{"attribute", Value(0)}}}, b);
       }}};
  return all;
}

using Test = std::function<bool(const Value&, const CallArguments&, Budget&)>;

template <typename Fn>
Test of_value(Fn&& fn) {
  return [fn](const Value& value, const CallArguments&, Budget&) { return fn(value); };
}

Test comparison(const std::string& op) {
  return [op](const Value& value, const CallArguments& arguments, Budget& budget) {
    return compare(op, value, arguments.at(0, "other", budget), budget);
  };
}

bool same(const Value& value, const CallArguments& arguments, Budget& budget) {
  const Value& other = arguments.at(0, "other", budget);
  return value.type_name() == other.type_name() && equal(value, other);
}

Test remainder(int64_t expected) {
  return [expected](const Value& value, const CallArguments&, Budget& budget) { return equal(binary("%", value, 2, budget), expected); };
}

const std::map<std::string, Test>& tests() {
  static const std::map<std::string, Test> all = {
      {"defined", of_value([](const Value& v) { return !v.is_undefined(); })},
      {"undefined", of_value([](const Value& v) { return v.is_undefined(); })},
      {"none", of_value([](const Value& v) { return v.is<None>(); })},
      {"string", of_value([](const Value& v) { return v.is_text(); })},
      {"number", of_value([](const Value& v) { return v.is_number(); })},
      {"integer", of_value([](const Value& v) { return v.is<int64_t>(); })},
      {"float", of_value([](const Value& v) { return v.is<double>(); })},
      {"boolean", of_value([](const Value& v) { return v.is<bool>(); })},
      {"true", of_value([](const Value& v) { return v.is<bool>() && v.truth(); })},
      {"false", of_value([](const Value& v) { return v.is<bool>() && !v.truth(); })},
      {"mapping", of_value([](const Value& v) { return v.is_dict(); })},
      {"iterable", of_value([](const Value& v) { return v.is_text() || v.is_list() || v.is_dict() || v.is_undefined(); })},
      {"sequence", of_value([](const Value& v) { return v.is_text() || v.is_list() || v.is_dict() || v.is_undefined(); })},
      {"callable", of_value([](const Value& v) { return v.is<Function>(); })},
      {"lower", of_value([](const Value& v) { return to_text(v) == lower(to_text(v)); })},
      {"upper", of_value([](const Value& v) { return to_text(v) == upper(to_text(v)); })},
      {"even", remainder(0)}, {"odd", remainder(1)},
      {"divisibleby", [](const Value& v, const CallArguments& a, Budget& b) { return equal(binary("%", v, a.at(0, "num", b), b), 0); }},
      {"equalto", comparison("==")}, {"eq", comparison("==")}, {"ne", comparison("!=")}, {"lt", comparison("<")},
      {"lessthan", comparison("<")}, {"le", comparison("<=")}, {"gt", comparison(">")}, {"greaterthan", comparison(">")},
      {"ge", comparison(">=")}, {"in", comparison("in")}, {"sameas", same}};
  return all;
}

template <typename Map>
const auto& known(const Map& all, const std::string& name, const std::string& kind, const Budget& budget) {
  const auto at = all.find(name);
  if (at != all.end()) return at->second;
  std::vector<std::string> names;
  for (const auto& entry : all) names.push_back(entry.first);
  budget.fail("unknown " + kind + " '" + name + "'" + did_you_mean(name, names));
}

}  // namespace

Value apply_filter(const std::string& name, const Value& value, const CallArguments& arguments, Budget& budget) {
  budget.step();
  return known(filters(), name, "filter", budget)(value, arguments, budget);
}

bool apply_test(const std::string& name, const Value& value, const CallArguments& arguments, Budget& budget) {
  budget.step();
  return known(tests(), name, "test", budget)(value, arguments, budget);
}

}  // namespace espalier::jinja
