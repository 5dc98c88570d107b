#include "espalier/core/json.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/core/file.h"

namespace espalier {
namespace {

constexpr size_t kMaxDepth = 64;

// Builds the document in one pass. nlohmann's own builder looks through all members at each new key of an ordered
// object, hence takes minutes for a vocabulary of 150 000 words; here new members are appended and a hash set finds
// the duplicates.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(const std::string& where, Json& root) : where_(where), root_(root) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Json::value_t::object); }
  bool start_array(size_t) override { return open(Json::value_t::array); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& key) override {
    if (!open_.back().add_key(key)) user_error("{}: the key '{}' stands twice in one object", where_, printable(key));
    auto& members = *open_.back().value->get_ptr<Json::object_t*>();
    static_cast<Json::object_t::Container&>(members).emplace_back(std::move(key), nullptr);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    user_error("{}: not valid JSON at byte {}", where_, position);
  }

 private:
  struct Open {
    Json* value;
    std::unordered_set<std::string> keys;  // filled once the object has kFewKeys members

    bool add_key(const std::string& key) {
      constexpr size_t kFewKeys = 16;
      const auto& members = *value->get_ptr<Json::object_t*>();
      auto has_key = [&](const auto& member) { return member.first == key; };
      if (members.size() < kFewKeys) return std::none_of(members.begin(), members.end(), has_key);
      if (keys.empty())
        for (const auto& member : members) keys.insert(member.first);
      return keys.insert(key).second;
    }
  };

  // Where the value that comes next belongs.
  Json& slot() {
    if (open_.empty()) return root_;
    Json& parent = *open_.back().value;
    if (parent.is_array()) return parent.get_ptr<Json::array_t*>()->emplace_back();
    return parent.get_ptr<Json::object_t*>()->back().second;
  }
  template <typename Value>
  bool put(Value&& value) {
    slot() = Json(std::forward<Value>(value));
    return true;
  }
  bool open(Json::value_t kind) {
    if (open_.size() >= kMaxDepth) user_error("{}: JSON nested deeper than {} levels", where_, kMaxDepth);
    Json& value = slot();
    value = Json(kind);
    open_.push_back({&value, {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string where_;
  Json& root_;
  std::vector<Open> open_;
};

const Json& field(const Json& object, const std::string& key, const std::string& where) {
  auto found = object.find(key);
  if (found == object.end()) user_error("{}: the field '{}' is missing", where, key);
  return *found;
}

int64_t as_int(const Json& value, const std::string& key, const std::string& where, int64_t low, int64_t high) {
  const bool fits = value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX);
  if (!fits || value.get<int64_t>() < low || value.get<int64_t>() > high)
    throw UserError(where, key, fmt::format("an integer from {} to {}", low, high), describe(value));
  return value.get<int64_t>();
}

bool absent(const Json& object, const std::string& key) {
  auto found = object.find(key);
  return found == object.end() || found->is_null();
}

}  // namespace

size_t valid_utf8_prefix(std::string_view text) {
  const auto* begin = reinterpret_cast<const unsigned char*>(text.data());
  const auto* p = begin;
  const auto* end = begin + text.size();
  auto continues = [&](int i) { return p + i < end && (p[i] & 0xc0) == 0x80; };
  while (p < end) {
    if (p[0] < 0x80) {
      p += 1;
    } else if (p[0] >= 0xc2 && p[0] <= 0xdf && continues(1)) {
      p += 2;
    } else if ((p[0] & 0xf0) == 0xe0 && continues(1) && continues(2) && !(p[0] == 0xe0 && p[1] < 0xa0) &&
               !(p[0] == 0xed && p[1] > 0x9f)) {
      p += 3;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4 && continues(1) && continues(2) && continues(3) &&
               !(p[0] == 0xf0 && p[1] < 0x90) && !(p[0] == 0xf4 && p[1] > 0x8f)) {
      p += 4;
    } else {
      break;
    }
  }
  return static_cast<size_t>(p - begin);
}

bool is_valid_utf8(std::string_view text) { return valid_utf8_prefix(text) == text.size(); }

Json parse_json(std::string_view text, const std::string& where) {
  if (!is_valid_utf8(text)) user_error("{}: not valid UTF-8", where);
  // The library takes a NUL for the end of the text and would accept whatever follows it.
  if (const size_t nul = text.find('\0'); nul != text.npos) user_error("{}: not valid JSON at byte {}", where, nul);
  Json root;
  Builder builder(where, root);
  Json::sax_parse(text, &builder);
  return root;
}

Json read_json(const std::filesystem::path& path, uint64_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path.string());
}

int64_t json_int(const Json& object, const std::string& key, const std::string& where, int64_t low, int64_t high) {
  return as_int(field(object, key, where), key, where, low, high);
}

int64_t json_int_or(const Json& object, const std::string& key, const std::string& where, int64_t low, int64_t high,
                    int64_t otherwise) {
  return absent(object, key) ? otherwise : as_int(object.at(key), key, where, low, high);
}

double json_number_or(const Json& object, const std::string& key, const std::string& where, double otherwise) {
  if (absent(object, key)) return otherwise;
  const Json& value = object.at(key);
  if (!value.is_number() || !std::isfinite(value.get<double>()))
    throw UserError(where, key, "a finite number", describe(value));
  return value.get<double>();
}

bool json_bool_or(const Json& object, const std::string& key, const std::string& where, bool otherwise) {
  if (absent(object, key)) return otherwise;
  const Json& value = object.at(key);
  if (!value.is_boolean()) throw UserError(where, key, "true or false", describe(value));
  return value.get<bool>();
}

std::string json_string(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = field(object, key, where);
  if (!value.is_string()) throw UserError(where, key, "a string", describe(value));
  return value.get<std::string>();
}

std::string json_string_or(const Json& object, const std::string& key, const std::string& where,
                           const std::string& otherwise) {
  return absent(object, key) ? otherwise : json_string(object, key, where);
}

std::string describe(const Json& value) {
  return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60);
}

}  // namespace espalier
