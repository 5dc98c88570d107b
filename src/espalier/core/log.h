// Messages for people, on stderr. They never tear a progress bar: the bar is taken away, the line written, the bar put
// back.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace espalier {

enum class Verbosity { kQuiet, kNormal, kDetailed };  // -q, nothing, -v

void set_verbosity(Verbosity verbosity);
Verbosity verbosity();

// One line at the verbosity `needed` or above.
void log_line(Verbosity needed, std::string_view line);

// Something that the user should know although the run goes on; also under -q.
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  log_line(Verbosity::kQuiet, "espalier: warning: " + fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void inform(fmt::format_string<Args...> format, Args&&... args) {
  log_line(Verbosity::kNormal, fmt::format(format, std::forward<Args>(args)...));
}

// Shown with -v.
template <typename... Args>
void detail(fmt::format_string<Args...> format, Args&&... args) {
  if (verbosity() == Verbosity::kDetailed)
    log_line(Verbosity::kDetailed, fmt::format(format, std::forward<Args>(args)...));
}

// The last line of a terminal, rewritten in place; "" takes it away. Only class Progress calls this.
void set_status_line(std::string_view line);

}  // namespace espalier
