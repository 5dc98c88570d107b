// What a long run shows while it works:
//   Progress progress("pruning blocks", block_count, "block");
//   for (…) { …; progress.advance(1); }
// A terminal gets a bar with rate and time left, a pipe plain lines, `--progress=json` one JSON object a line. Whatever
// is over within two seconds shows nothing (JSON always reports its end). All times come from the monotonic clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace espalier {

enum class ProgressMode {
  kAuto,  // bar on a usable terminal, lines elsewhere
  kBar,
  kLines,
  kJson,  // {"phase","done","total","unit","seconds","eta"} on stderr; total and eta are null when unknown
  kQuiet,
};

void set_progress_mode(ProgressMode mode);

// What kAuto means here: a bar needs stderr on a terminal, a TERM that is neither unset nor "dumb", and 20 columns.
ProgressMode resolve_progress_mode(ProgressMode mode, bool is_terminal, const char* term, int columns);

// How often Progress asks for a redraw, in seconds; zero intervals make every advance visible (tests).
struct ProgressTiming {
  double quiet_seconds = 2;  // shorter phases show nothing
  double line_interval = 5;
  double redraw_interval = 0.1;
  double json_interval = 0.25;
};
void set_progress_timing(const ProgressTiming& timing);

// The texts, apart from any terminal. seconds is the time since the start; total 0 means unknown.
struct ProgressState {
  std::string phase, unit, note;
  int64_t done = 0, total = 0;
  double seconds = 0;
};
std::optional<double> seconds_left(const ProgressState& state);     // nullopt: nothing done yet or no total
std::string progress_bar(const ProgressState& state, int columns);  // never wider than columns
std::string progress_line(const ProgressState& state);
std::string progress_json(const ProgressState& state);
std::string format_duration(double seconds);  // "0.4 s", "12 s", "3 min 20 s", "2 h 05 min"

// advance() and note() may be called from several threads.
class Progress {
 public:
  Progress(std::string phase, int64_t total, std::string unit);
  ~Progress();  // says the end, unless an exception is on its way
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(int64_t count = 1);
  void note(std::string_view text);  // shown behind the bar: the layer at work, the loss

 private:
  using Clock = std::chrono::steady_clock;
  void show(bool last);

  std::mutex mutex_;
  ProgressState state_;
  ProgressMode mode_;
  ProgressTiming timing_;
  Clock::time_point start_, last_shown_;
  int columns_ = 80;
  int exceptions_at_start_;
  bool shown_ = false;
};

}  // namespace espalier
