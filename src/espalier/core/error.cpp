#include "espalier/core/error.h"

#include <algorithm>
#include <numeric>

namespace espalier {

UserError::UserError(const std::string& where, const std::string& what, const std::string& expected, const std::string& found)
    : std::runtime_error(fmt::format("{}: {}: expected {}, found {}", where, what, expected, found)) {}

void throw_user_error(fmt::string_view format, fmt::format_args args) { throw UserError(fmt::vformat(format, args)); }

void bug(const char* file, int line, const std::string& what) {
  throw Bug(fmt::format("{}:{}: {}", file, line, what));
}

void failed_assertion(const char* file, int line, const char* condition, const std::string& what) {
  bug(file, line, what.empty() ? condition : fmt::format("{}: {}", condition, what));
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  for (unsigned char c : text.substr(0, max_bytes)) {
    if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += static_cast<char>(c);
    }
  }
  if (text.size() > max_bytes) out += "…";
  return out;
}

namespace {
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t substitute = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substitute}));
    }
  }
  return row.back();
}
}  // namespace

std::string did_you_mean(std::string_view name, const std::vector<std::string>& known) {
  if (name.size() > 64) return "";
  const std::string* best = nullptr;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const auto& candidate : known) {
    size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = &candidate;
    }
  }
  return best ? fmt::format(" (did you mean '{}'?)", *best) : "";
}

}  // namespace espalier
