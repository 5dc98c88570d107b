// Methods of texts, lists and dictionaries.
#include <algorithm>
#include <functional>
#include <map>

#include "espalier/engine/jinja/functions.h"
#include "espalier/engine/jinja/text.h"

namespace espalier::jinja {
namespace {

using Method = Value (*)(const Value& object, const CallArguments& arguments, Budget& budget);
using Methods = std::map<std::string, Method, std::less<>>;

Value list_of(const std::vector<std::string_view>& texts, Budget& budget) {
  List items;
  for (const std::string_view text : texts) items.push_back(made(std::string(text), budget));
  budget.step(items.size());
  return items;
}

template <Side side>
Value strip_method(const Value& object, const CallArguments& arguments, Budget& budget) {
  const Value* set = arguments.find(0, "chars");
  const bool spaces = !set || set->is<None>();
  return made(std::string(spaces ? strip(object.text(), side) : strip(object.text(), text_of(*set, budget), side)), budget);
}

template <bool right>
Value split_method(const Value& object, const CallArguments& arguments, Budget& budget) {
  const Value* separator = arguments.find(0, "sep");
  const int64_t most = arguments.integer(1, "maxsplit", -1, budget);
  if (!separator || separator->is<None>()) {
    if (right && most >= 0) budget.fail("rsplit with a limit needs a separator");
    return list_of(split_spaces(object.text(), most), budget);
  }
  const std::string& at = text_of(*separator, budget);
  if (at.empty()) budget.fail("split at an empty separator");
  return list_of((right ? split_right : split)(object.text(), at, most), budget);
}

// startswith and endswith take one text or a tuple of them.
template <bool begin>
Value affix_method(const Value& object, const CallArguments& arguments, Budget& budget) {
  const Value& affix = arguments.at(0, "prefix", budget);
  const auto matches = [&](const Value& one) {
    const std::string& text = text_of(one, budget);
    return begin ? object.text().starts_with(text) : object.text().ends_with(text);
  };
  if (!affix.is_list()) return matches(affix);
  return std::any_of(affix.items().begin(), affix.items().end(), matches);
}

template <std::string (*change)(std::string_view)>
Value change_method(const Value& object, const CallArguments&, Budget& budget) {
  return made(change(object.text()), budget);
}

template <bool (*test)(std::string_view)>
Value test_method(const Value& object, const CallArguments&, Budget&) {
  return test(object.text());
}

template <bool last>
Value find_method(const Value& object, const CallArguments& arguments, Budget& budget) {
  const std::string& what = text_of(arguments.at(0, "sub", budget), budget);
  const size_t at = last ? object.text().rfind(what) : object.text().find(what);
  return at == std::string::npos ? int64_t{-1} : length_of(std::string_view(object.text()).substr(0, at));
}

Value replace_method(const Value& object, const CallArguments& arguments, Budget& budget) {
  const std::string &from = text_of(arguments.at(0, "old", budget), budget), &to = text_of(arguments.at(1, "new", budget), budget);
  budget.text((object.text().size() + 1) * (to.size() + 1) / std::max<size_t>(from.size(), 1));  // before it is made
  return made(replaced(object.text(), from, to, arguments.integer(2, "count", -1, budget)), budget);
}

Value join_method(const Value& object, const CallArguments& arguments, Budget& budget) {
  std::string out;
  bool first = true;
  for (const Value& part : elements(arguments.at(0, "iterable", budget), budget)) {
    if (!std::exchange(first, false)) out += object.text();
    out += text_of(part, budget);
    budget.text(object.text().size() + part.text().size());
  }
  return out;
}

Value lines_method(const Value& object, const CallArguments&, Budget& budget) { return list_of(split_lines(object.text()), budget); }

Value count_method(const Value& object, const CallArguments& arguments, Budget& budget) {
  const Value& what = arguments.at(0, "value", budget);
  if (object.is_list()) {
    pay(object, budget);
    return static_cast<int64_t>(std::count_if(object.items().begin(), object.items().end(), [&](const Value& x) { return equal(x, what); }));
  }
  if (text_of(what, budget).empty()) return length_of(object.text()) + 1;
  return static_cast<int64_t>(split(object.text(), what.text()).size()) - 1;
}

Value index_method(const Value& object, const CallArguments& arguments, Budget& budget) {
  const Value& what = arguments.at(0, "value", budget);
  pay(object, budget);
  const auto at = std::find_if(object.items().begin(), object.items().end(), [&](const Value& x) { return equal(x, what); });
  if (at == object.items().end()) budget.fail("the value is not in the list");
  return static_cast<int64_t>(at - object.items().begin());
}

Value items_method(const Value& object, const CallArguments&, Budget& budget) {
  List items;
  for (const auto& [key, value] : object.members()) items.push_back(List{Value(key), value});
  budget.step(items.size());
  return items;
}

Value keys_method(const Value& object, const CallArguments&, Budget& budget) { return elements(object, budget); }

Value values_method(const Value& object, const CallArguments&, Budget& budget) {
  List items;
  for (const auto& member : object.members()) items.push_back(member.second);
  budget.step(items.size());
  return items;
}

Value get_method(const Value& object, const CallArguments& arguments, Budget& budget) {
  const Value& key = arguments.at(0, "key", budget);
  if (const Value* found = key.is_text() ? object.find(key.text()) : nullptr) return *found;
  const Value* otherwise = arguments.find(1, "default");
  return otherwise ? *otherwise : Value(None{});
}

const Methods kTextMethods = {
    {"strip", strip_method<Side::kBoth>}, {"lstrip", strip_method<Side::kLeft>}, {"rstrip", strip_method<Side::kRight>},
    {"split", split_method<false>}, {"rsplit", split_method<true>}, {"splitlines", lines_method},
    {"startswith", affix_method<true>}, {"endswith", affix_method<false>},
    {"upper", change_method<upper>}, {"lower", change_method<lower>}, {"title", change_method<titled>},
    {"capitalize", change_method<capitalized>}, {"isdigit", test_method<all_digits>}, {"isalpha", test_method<all_letters>},
    {"find", find_method<false>}, {"rfind", find_method<true>}, {"replace", replace_method}, {"join", join_method},
    {"count", count_method}};
const Methods kListMethods = {{"count", count_method}, {"index", index_method}};
const Methods kDictMethods = {{"items", items_method}, {"keys", keys_method}, {"values", values_method}, {"get", get_method}};

Method method_of(const Value& object, std::string_view name) {
  static const Methods kNone;
  const Methods& methods = object.is_text() ? kTextMethods : object.is_list() ? kListMethods : object.is_dict() ? kDictMethods : kNone;
  const auto at = methods.find(name);
  return at == methods.end() ? nullptr : at->second;
}

}  // namespace

bool has_method(const Value& object, std::string_view name) { return method_of(object, name) != nullptr; }

Value call_method(const Value& object, const std::string& name, const CallArguments& arguments, Budget& budget) {
  return method_of(object, name)(object, arguments, budget);
}

const Value* CallArguments::find(size_t position, std::string_view name) const {
  if (position < positional.size()) return &positional[position];
  const auto at = std::find_if(named.begin(), named.end(), [&](const auto& member) { return member.first == name; });
  return at == named.end() ? nullptr : &at->second;
}

const Value& CallArguments::at(size_t position, std::string_view name, const Budget& budget) const {
  const Value* found = find(position, name);
  if (!found) budget.fail("argument '" + std::string(name) + "' is missing");
  return *found;
}

int64_t CallArguments::integer(size_t position, std::string_view name, int64_t otherwise, const Budget& budget) const {
  const Value* found = find(position, name);
  if (!found || found->is<None>()) return otherwise;
  if (!found->is_integer()) budget.fail("argument '" + std::string(name) + "': expected an integer, found " + found->type_name());
  return found->integer();
}

bool CallArguments::truth(size_t position, std::string_view name) const {
  const Value* found = find(position, name);
  return found && found->truth();
}

}  // namespace espalier::jinja
