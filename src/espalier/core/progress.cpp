#include "espalier/core/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "espalier/core/json.h"
#include "espalier/core/log.h"

namespace espalier {
namespace {

constexpr int kNarrowestBar = 20;

std::atomic<ProgressMode> global_mode{ProgressMode::kAuto};
std::mutex timing_mutex;
ProgressTiming global_timing;  // guarded by timing_mutex

int terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

ProgressMode current_mode(int columns) {
  if (verbosity() == Verbosity::kQuiet && global_mode != ProgressMode::kJson) return ProgressMode::kQuiet;
  return resolve_progress_mode(global_mode, ::isatty(STDERR_FILENO) == 1, std::getenv("TERM"), columns);
}

ProgressTiming current_timing() {
  std::lock_guard lock(timing_mutex);
  return global_timing;
}

double interval_of(ProgressMode mode, const ProgressTiming& timing) {
  if (mode == ProgressMode::kBar) return timing.redraw_interval;
  return mode == ProgressMode::kJson ? timing.json_interval : timing.line_interval;
}

double rate_of(const ProgressState& state) {
  return state.seconds > 0 ? static_cast<double>(state.done) / state.seconds : 0;
}

std::string format_rate(const ProgressState& state) {
  const double rate = rate_of(state);
  if (rate > 0 && rate < 0.5) return fmt::format("{:.1f} s/{}", 1 / rate, state.unit);
  return fmt::format("{:.{}f} {}/s", rate, rate < 10 ? 1 : 0, state.unit);
}

// Columns of UTF-8 text, one a code point: phases and units are plain words.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string cut_to(std::string text, size_t columns) {
  while (width_of(text) > columns) {
    while (!text.empty() && (text.back() & 0xc0) == 0x80) text.pop_back();
    text.pop_back();
  }
  return text;
}

std::string done_of_total(const ProgressState& state) {
  return state.total > 0 ? fmt::format("{}/{} {}", state.done, state.total, state.unit)
                         : fmt::format("{} {}", state.done, state.unit);
}

}  // namespace

void set_progress_mode(ProgressMode mode) { global_mode = mode; }

void set_progress_timing(const ProgressTiming& timing) {
  std::lock_guard lock(timing_mutex);
  global_timing = timing;
}

ProgressMode resolve_progress_mode(ProgressMode mode, bool is_terminal, const char* term, int columns) {
  if (mode != ProgressMode::kAuto) return mode;
  const bool can_rewrite = is_terminal && term && *term && std::strcmp(term, "dumb") != 0;
  return can_rewrite && columns >= kNarrowestBar ? ProgressMode::kBar : ProgressMode::kLines;
}

std::optional<double> seconds_left(const ProgressState& state) {
  if (state.total <= 0 || state.done <= 0) return std::nullopt;
  const int64_t left = std::max<int64_t>(0, state.total - state.done);
  return state.seconds * static_cast<double>(left) / static_cast<double>(state.done);
}

std::string format_duration(double seconds) {
  if (seconds < 10) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::string progress_bar(const ProgressState& state, int columns) {
  std::string tail = fmt::format(" {}  {}", done_of_total(state), format_rate(state));
  if (auto left = seconds_left(state)) tail += fmt::format("  {} left", format_duration(*left));
  if (!state.note.empty()) tail += "  " + state.note;
  std::string bar;
  // One column stays free: writing the last one makes some terminals wrap.
  const int room = columns - 1 - static_cast<int>(width_of(state.phase) + width_of(tail)) - 3;
  if (state.total > 0 && room >= 5) {
    const int width = std::min(room, 30);
    const auto filled = static_cast<int>(
        std::clamp<double>(static_cast<double>(state.done) / static_cast<double>(state.total) * width, 0, width));
    bar = fmt::format(" [{}{}]", std::string(static_cast<size_t>(filled), '#'),
                      std::string(static_cast<size_t>(width - filled), '.'));
  }
  return cut_to(state.phase + bar + tail, static_cast<size_t>(std::max(columns - 1, 0)));
}

std::string progress_line(const ProgressState& state) {
  std::string line = fmt::format("{}: {}, {}, {}", state.phase, done_of_total(state), format_duration(state.seconds),
                                 format_rate(state));
  if (auto left = seconds_left(state); left && state.done < state.total)
    line += fmt::format(", {} left", format_duration(*left));
  if (!state.note.empty()) line += ", " + state.note;
  return line;
}

std::string progress_json(const ProgressState& state) {
  const auto left = seconds_left(state);
  Json line = {{"phase", state.phase},
               {"done", state.done},
               {"total", state.total > 0 ? Json(state.total) : Json(nullptr)},
               {"unit", state.unit},
               {"seconds", std::round(state.seconds * 1000) / 1000},
               {"eta", left ? Json(std::round(*left * 1000) / 1000) : Json(nullptr)}};
  if (!state.note.empty()) line["note"] = state.note;
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Progress::Progress(std::string phase, int64_t total, std::string unit)
    : timing_(current_timing()),
      start_(Clock::now()),
      last_shown_(start_),
      exceptions_at_start_(std::uncaught_exceptions()) {
  const int columns = terminal_columns();  // 0: no terminal
  mode_ = current_mode(columns);
  if (columns > 0) columns_ = columns;
  state_.phase = std::move(phase);
  state_.unit = std::move(unit);
  state_.total = total;
}

Progress::~Progress() {
  std::lock_guard lock(mutex_);
  if (std::uncaught_exceptions() > exceptions_at_start_) {
    if (mode_ == ProgressMode::kBar) set_status_line("");
    return;
  }
  show(true);
}

void Progress::advance(int64_t count) {
  std::lock_guard lock(mutex_);
  state_.done += count;
  show(false);
}

void Progress::note(std::string_view text) {
  std::lock_guard lock(mutex_);
  state_.note = text;
}

void Progress::show(bool last) {
  if (mode_ == ProgressMode::kQuiet) return;
  const auto now = Clock::now();
  state_.seconds = std::chrono::duration<double>(now - start_).count();
  const bool json = mode_ == ProgressMode::kJson;
  if (!json && state_.seconds < timing_.quiet_seconds) return;
  const double since = std::chrono::duration<double>(now - last_shown_).count();
  if (!last && (shown_ || json) && since < interval_of(mode_, timing_)) return;
  last_shown_ = now;
  shown_ = true;
  if (mode_ == ProgressMode::kBar) {
    if (!last) return set_status_line(progress_bar(state_, columns_));
    set_status_line("");
  }
  // Not inform(): the mode has already decided, and JSON is wanted even under -q.
  log_line(Verbosity::kQuiet, json ? progress_json(state_) : progress_line(state_));
}

}  // namespace espalier
