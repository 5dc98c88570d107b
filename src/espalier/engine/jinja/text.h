// Python's operations on texts, by code points.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::jinja {

std::vector<std::string> characters(std::string_view text);
int64_t length_of(std::string_view text);  // in code points

enum class Side { kBoth, kLeft, kRight };
std::string_view strip(std::string_view text, Side side = Side::kBoth);                          // white space
std::string_view strip(std::string_view text, std::string_view set, Side side = Side::kBoth);  // the set's characters

// most < 0: no limit. Without separator: at runs of white space.
std::vector<std::string_view> split(std::string_view text, std::string_view separator, int64_t most = -1);
std::vector<std::string_view> split_right(std::string_view text, std::string_view separator, int64_t most = -1);
std::vector<std::string_view> split_spaces(std::string_view text, int64_t most = -1);
std::vector<std::string_view> split_lines(std::string_view text);

std::string replaced(std::string_view text, std::string_view from, std::string_view to, int64_t most = -1);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalized(std::string_view text);
std::string titled(std::string_view text);              // str.title
std::string titled_after_spaces(std::string_view text);  // Jinja's filter of that name
std::string indented(std::string_view text, std::string_view by, bool first, bool blank);
bool all_digits(std::string_view text);
bool all_letters(std::string_view text);

}  // namespace espalier::jinja
