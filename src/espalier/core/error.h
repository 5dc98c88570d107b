// Two words for two things: UserError is the user's mistake (bad file, bad option), exit 2;
// ESP_ASSERT failing is our bug, exit 1.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace espalier {

// One line: "<where>: <what>; expected <expected>, found <found>".
class UserError : public std::runtime_error {
 public:
  explicit UserError(const std::string& message) : std::runtime_error(message) {}
  // where: file, option or tensor; what: the field or the operation.
  UserError(const std::string& where, const std::string& what, const std::string& expected, const std::string& found);
};

// The user pressed Ctrl-C or the system sent SIGTERM; exit 130. The message says how to resume.
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A violated invariant of espalier itself.
class Bug : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void throw_user_error(fmt::string_view format, fmt::format_args args);

template <typename... Args>
[[noreturn]] void user_error(fmt::format_string<Args...> format, Args&&... args) {
  throw_user_error(format, fmt::make_format_args(args...));
}

[[noreturn]] void bug(const char* file, int line, const std::string& what);
[[noreturn]] void failed_assertion(const char* file, int line, const char* condition, const std::string& what = {});

// Text from a hostile file, made safe for a one-line message: control bytes escaped, at most max_bytes shown.
std::string printable(std::string_view text, size_t max_bytes = 80);

// " (did you mean 'x'?)" or "", by edit distance.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& known);

}  // namespace espalier

#define ESP_ASSERT(condition, ...)                                                                                     \
  do {                                                                                                                 \
    if (!(condition)) ::espalier::failed_assertion(__FILE__, __LINE__, #condition __VA_OPT__(, fmt::format(__VA_ARGS__))); \
  } while (0)
