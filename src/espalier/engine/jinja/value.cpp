#include "espalier/engine/jinja/value.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace espalier::jinja {
namespace {

std::string float_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", number);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string quoted(const std::string& text) {
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == '\\' || c == quote) (out += '\\') += c;
    else if (c == '\n') out += "\\n";
    else if (c == '\r') out += "\\r";
    else if (c == '\t') out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) out += fmt::format("\\x{:02x}", static_cast<int>(c));
    else out += c;
  }
  return out + quote;
}

template <typename Container, typename Fn>
std::string joined(char open, const Container& container, char close, Fn&& item) {
  std::string out(1, open);
  for (const auto& element : container) {
    if (out.size() > 1) out += ", ";
    out += item(element);
  }
  return out + close;
}

void append_json_text(std::string& out, const std::string& text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) out += fmt::format("\\u{:04x}", static_cast<int>(c));
        else out += c;
    }
  }
  out += '"';
}

void new_line(std::string& out, int indent, int depth) {
  if (indent < 0) return;
  out += '\n';
  out.append(static_cast<size_t>(indent) * static_cast<size_t>(depth), ' ');
}

template <typename Container, typename Fn>
bool append_json_items(std::string& out, char open, const Container& container, char close, int indent, int depth, Fn&& item) {
  out += open;
  bool first = true;
  for (const auto& element : container) {
    if (!first) out += indent < 0 ? ", " : ",";
    first = false;
    new_line(out, indent, depth + 1);
    if (!item(element)) return false;
  }
  if (!container.empty()) new_line(out, indent, depth);
  out += close;
  return true;
}

}  // namespace

bool Value::truth() const {
  if (is_undefined() || is<None>()) return false;
  if (is<bool>()) return get<bool>();
  if (is_number()) return number() != 0;
  if (is_text()) return !text().empty();
  if (is_list()) return !items().empty();
  if (is_dict()) return !members().empty();
  return true;
}

std::string Value::type_name() const {
  static const char* const kNames[] = {"undefined", "None",   "a boolean",    "an integer",  "a float",
                                       "a string",  "a list", "a dictionary", "a namespace", "a function"};
  return kNames[data_.index()];
}

const Value* Value::find(std::string_view key) const {
  const Members* all = is_dict() ? &members() : nullptr;
  if (is<std::shared_ptr<Namespace>>()) all = &get<std::shared_ptr<Namespace>>()->members;
  if (!all) return nullptr;
  const auto at = std::find_if(all->begin(), all->end(), [&](const auto& member) { return member.first == key; });
  return at == all->end() ? nullptr : &at->second;
}

Value from_json(const Json& json) {
  if (json.is_null()) return None{};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX) return json.get<double>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) {
    List items;
    for (const Json& item : json) items.push_back(from_json(item));
    return items;
  }
  Members members;
  for (const auto& [key, value] : json.items()) members.emplace_back(key, from_json(value));
  return members;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number())
    return a.is_integer() && b.is_integer() ? a.integer() == b.integer() : a.number() == b.number();
  if (a.is_text() && b.is_text()) return a.text() == b.text();
  if (a.is_list() && b.is_list())
    return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(), equal);
  if (a.is_dict() && b.is_dict()) {
    const auto same = [&](const auto& member) {
      const Value* other = b.find(member.first);
      return other && equal(member.second, *other);
    };
    return a.members().size() == b.members().size() && std::all_of(a.members().begin(), a.members().end(), same);
  }
  return (a.is_undefined() && b.is_undefined()) || (a.is<None>() && b.is<None>());
}

std::string to_text(const Value& value) {
  if (value.is_undefined()) return "";
  return value.is_text() ? value.text() : to_repr(value);
}

std::string to_repr(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is<None>()) return "None";
  if (value.is<bool>()) return value.get<bool>() ? "True" : "False";
  if (value.is_integer()) return std::to_string(value.integer());
  if (value.is_number()) return float_text(value.number());
  if (value.is_text()) return quoted(value.text());
  if (value.is_list()) return joined('[', value.items(), ']', to_repr);
  if (value.is_dict())
    return joined('{', value.members(), '}', [](const auto& m) { return quoted(m.first) + ": " + to_repr(m.second); });
  return value.is<Function>() ? "<function " + value.get<Function>().name + ">" : "<Namespace>";
}

bool append_json(std::string& out, const Value& value, int indent, bool sort_keys, int depth) {
  const auto append = [&](const Value& item) { return append_json(out, item, indent, sort_keys, depth + 1); };
  if (value.is<None>()) out += "null";
  else if (value.is<bool>()) out += value.get<bool>() ? "true" : "false";
  else if (value.is_number()) out += to_repr(value);
  else if (value.is_text()) append_json_text(out, value.text());
  else if (value.is_list()) return append_json_items(out, '[', value.items(), ']', indent, depth, append);
  else if (value.is_dict()) {
    Members members = value.members();
    if (sort_keys) std::stable_sort(members.begin(), members.end(), [](auto& a, auto& b) { return a.first < b.first; });
    return append_json_items(out, '{', members, '}', indent, depth, [&](const auto& member) {
      append_json_text(out, member.first);
      out += ": ";
      return append(member.second);
    });
  } else return false;
  return true;
}

}  // namespace espalier::jinja
