#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/engine/jinja/functions.h"
#include "espalier/engine/jinja/text.h"

namespace espalier::jinja {
namespace {

constexpr uint64_t kMostSteps = 5'000'000, kMostBytes = 256u << 20;

[[noreturn]] void fail_operands(const std::string& op, const Value& a, const Value& b, const Budget& budget) {
  for (const Value* value : {&a, &b})
    if (value->is_undefined()) budget.fail("'" + value->get<Undefined>().name + "' is undefined");
  budget.fail("'" + op + "' of " + a.type_name() + " and " + b.type_name());
}

Value integers(const std::string& op, int64_t a, int64_t b, const Budget& budget) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") overflow = __builtin_add_overflow(a, b, &result);
  else if (op == "-") overflow = __builtin_sub_overflow(a, b, &result);
  else if (op == "*") overflow = __builtin_mul_overflow(a, b, &result);
  else if (op == "**") {
    result = 1;
    for (int64_t i = 0; i < b && !overflow; ++i) overflow = i >= 64 || __builtin_mul_overflow(result, a, &result);
  } else {  // // and %
    if (b == 0) budget.fail("a division by zero");
    if (b == -1) return integers("*", op == "%" ? 0 : a, -1, budget);
    const int64_t rest = a % b, lower = rest != 0 && (rest < 0) != (b < 0);
    result = op == "%" ? rest + (lower ? b : 0) : a / b - lower;
  }
  if (overflow) budget.fail("'" + op + "' of integers that are too large");
  return result;
}

Value numbers(const std::string& op, const Value& a, const Value& b, const Budget& budget) {
  if (a.is_integer() && b.is_integer() && op != "/" && !(op == "**" && b.integer() < 0))
    return integers(op, a.integer(), b.integer(), budget);
  const double x = a.number(), y = b.number();
  if (op == "+") return x + y;
  if (op == "-") return x - y;
  if (op == "*") return x * y;
  if (op == "**") return std::pow(x, y);
  if (y == 0) budget.fail("a division by zero");
  if (op == "/") return x / y;
  const double whole = std::floor(x / y);
  return op == "//" ? whole : x - whole * y;
}

Value repeated(const Value& value, int64_t times, Budget& budget) {
  times = std::max<int64_t>(times, 0);
  if (value.is_text()) {
    if (value.text().size() * static_cast<double>(times) > kMostBytes) budget.text(kMostBytes + 1);
    std::string out;
    for (int64_t i = 0; i < times && !value.text().empty(); ++i) out += value.text();
    return made(std::move(out), budget);
  }
  if (value.items().size() * static_cast<double>(times) > kMostSteps) budget.step(kMostSteps + 1);
  List items;
  for (int64_t i = 0; i < times && !value.items().empty(); ++i) items.insert(items.end(), value.items().begin(), value.items().end());
  budget.step(items.size());
  return items;
}

bool contains(const Value& container, const Value& value, Budget& budget) {
  if (container.is_text()) return container.text().find(text_of(value, budget)) != std::string::npos;
  if (container.is_list()) {
    budget.step(container.items().size());
    if (value.is_list() || value.is_dict()) pay(container, budget);
    return std::any_of(container.items().begin(), container.items().end(), [&](const Value& x) { return equal(x, value); });
  }
  if (container.is_dict()) return value.is_text() && container.find(value.text());
  if (container.is_undefined()) return false;
  budget.fail("'in' of " + container.type_name());
}

}  // namespace

void Budget::step(uint64_t count) {
  steps_ += count;
  if (steps_ > kMostSteps) fail("it takes more than " + std::to_string(kMostSteps) + " steps");
}

void Budget::text(uint64_t bytes) {
  bytes_ += bytes;
  if (bytes_ > kMostBytes) fail("it makes more than " + std::to_string(kMostBytes) + " bytes of text");
}

void Budget::fail(const std::string& what) const { user_error("{}: line {}: {}", where_, line, printable(what, 400)); }

Value made(std::string text, Budget& budget) {
  budget.text(text.size());
  return text;
}

const std::string& text_of(const Value& value, Budget& budget) {
  if (value.is_undefined()) budget.fail("'" + value.get<Undefined>().name + "' is undefined");
  if (!value.is_text()) budget.fail("expected a string, found " + value.type_name());
  return value.text();
}

void pay(const Value& value, Budget& budget) {
  budget.step();
  if (value.is_text()) budget.text(value.text().size());
  if (value.is_list())
    for (const Value& one : value.items()) pay(one, budget);
  if (value.is_dict())
    for (const auto& member : value.members()) pay(member.second, budget);
}

std::string written(const Value& value, Budget& budget) {
  if (!value.is_text()) pay(value, budget);
  return to_text(value);
}

Value binary(const std::string& op, const Value& a, const Value& b, Budget& budget) {
  if (op == "~") return made(written(a, budget) + written(b, budget), budget);
  if (a.is_number() && b.is_number()) return numbers(op, a, b, budget);
  if (op == "+" && a.is_text() && b.is_text()) return made(a.text() + b.text(), budget);
  if (op == "+" && a.is_list() && b.is_list()) {
    List items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    budget.step(items.size());
    return items;
  }
  if (op == "*" && (a.is_text() || a.is_list()) && b.is_integer()) return repeated(a, b.integer(), budget);
  if (op == "*" && (b.is_text() || b.is_list()) && a.is_integer()) return repeated(b, a.integer(), budget);
  fail_operands(op, a, b, budget);
}

bool compare(const std::string& op, const Value& a, const Value& b, Budget& budget) {
  if (a.is_list() || a.is_dict()) pay(a, budget);
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (op == "in") return contains(b, a, budget);
  if (op == "not in") return !contains(b, a, budget);
  double difference;
  if (a.is_number() && b.is_number()) difference = a.number() - b.number();
  else if (a.is_text() && b.is_text()) difference = a.text().compare(b.text());
  else fail_operands(op, a, b, budget);
  if (op == "<") return difference < 0;
  if (op == "<=") return difference <= 0;
  return op == ">" ? difference > 0 : difference >= 0;
}

Value negated(const Value& value, Budget& budget) {
  if (!value.is_number()) fail_operands("-", 0, value, budget);
  return value.is_integer() ? integers("-", 0, value.integer(), budget) : Value(-value.number());
}

Value attribute(const Value& object, const std::string& name, Budget& budget) {
  if (object.is_undefined()) budget.fail("'" + object.get<Undefined>().name + "' is undefined");
  if (has_method(object, name)) return Function{name};
  const Value* found = object.find(name);
  return found ? *found : Undefined{name};
}

Value item(const Value& object, const Value& key, Budget& budget) {
  if (key.is_text()) {
    if (const Value* found = object.find(key.text())) return *found;
    return attribute(object, key.text(), budget);
  }
  if (object.is_undefined()) budget.fail("'" + object.get<Undefined>().name + "' is undefined");
  if (!key.is_integer() || !(object.is_list() || object.is_text())) return Undefined{to_text(key)};
  const int64_t count = length(object, budget);
  const int64_t at = key.integer() < 0 ? key.integer() + count : key.integer();
  if (at < 0 || at >= count) return Undefined{to_text(key)};
  if (object.is_list()) return object.items()[static_cast<size_t>(at)];
  return characters(object.text())[static_cast<size_t>(at)];
}

Value slice(const Value& object, const Value& begin, const Value& end, const Value& step, Budget& budget) {
  const List all = elements(object, budget);
  const auto count = static_cast<int64_t>(all.size());
  const auto given = [&](const Value& value) {
    if (!value.is_undefined() && !value.is<None>() && !value.is_integer()) budget.fail("a slice takes integers");
    return value.is_integer();
  };
  const int64_t by = given(step) ? step.integer() : 1;
  if (by == 0) budget.fail("a slice with step 0");
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? count : count - 1;
  const auto bound = [&](const Value& value, int64_t otherwise) {
    if (!given(value)) return otherwise;
    return std::clamp(value.integer() < 0 ? value.integer() + count : value.integer(), low, high);
  };
  const int64_t from = bound(begin, by > 0 ? low : high), to = bound(end, by > 0 ? high : low);
  List kept;
  const int64_t distance = by > 0 ? to - from : from - to;
  const uint64_t stride = by > 0 ? static_cast<uint64_t>(by) : 0 - static_cast<uint64_t>(by);
  for (uint64_t i = 0; distance > 0 && i < static_cast<uint64_t>(distance); i += stride) {
    kept.push_back(all[static_cast<size_t>(by > 0 ? from + static_cast<int64_t>(i) : from - static_cast<int64_t>(i))]);
    if (stride > static_cast<uint64_t>(count)) break;
  }
  if (!object.is_text()) return kept;
  std::string text;
  for (const Value& character : kept) text += character.text();
  return made(std::move(text), budget);
}

List elements(const Value& value, Budget& budget) {
  List all;
  if (value.is_list()) all = value.items();
  else if (value.is_dict()) for (const auto& member : value.members()) all.emplace_back(member.first);
  else if (value.is_text()) for (std::string& character : characters(value.text())) all.emplace_back(std::move(character));
  else if (!value.is_undefined()) budget.fail(value.type_name() + " is no sequence");
  budget.step(all.size());
  return all;
}

int64_t length(const Value& value, Budget& budget) {
  if (value.is_undefined()) return 0;
  if (value.is_text()) return length_of(value.text());
  if (value.is_list()) return static_cast<int64_t>(value.items().size());
  if (value.is_dict()) return static_cast<int64_t>(value.members().size());
  budget.fail(value.type_name() + " has no length");
}

}  // namespace espalier::jinja
