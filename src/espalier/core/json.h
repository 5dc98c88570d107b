// JSON from hostile files: size, depth, UTF-8 and duplicate keys are checked. Parsing takes linear time, but looking up
// a key walks through the members: iterate over large objects instead.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace espalier {

using Json = nlohmann::ordered_json;

// `where` names the source in errors. Refuses: not UTF-8, not JSON, nesting over 64, a key twice in one object.
Json parse_json(std::string_view text, const std::string& where);

// A file of at most max_bytes.
Json read_json(const std::filesystem::path& path, uint64_t max_bytes = 256u << 20);

// Typed fields; errors name `where`, the key, the expectation, and what stands there.
int64_t json_int(const Json& object, const std::string& key, const std::string& where, int64_t low, int64_t high);
int64_t json_int_or(const Json& object, const std::string& key, const std::string& where, int64_t low, int64_t high, int64_t otherwise);
double json_number_or(const Json& object, const std::string& key, const std::string& where, double otherwise);  // finite
bool json_bool_or(const Json& object, const std::string& key, const std::string& where, bool otherwise);
std::string json_string(const Json& object, const std::string& key, const std::string& where);
std::string json_string_or(const Json& object, const std::string& key, const std::string& where, const std::string& otherwise);

// What a message shows of a value: at most 60 bytes of its text.
std::string describe(const Json& value);

bool is_valid_utf8(std::string_view text);  // overlong forms and surrogates are invalid
size_t valid_utf8_prefix(std::string_view text);  // bytes before the first invalid or unfinished sequence

}  // namespace espalier
