#include "espalier/core/log.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>

namespace espalier {
namespace {

std::atomic<Verbosity> current_verbosity{Verbosity::kNormal};
std::mutex stderr_mutex;
std::string status;  // guarded by stderr_mutex

constexpr std::string_view kEraseLine = "\r\x1b[K";

// A log that cannot be written (closed pipe, full disk) must not stop the run.
void put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(STDERR_FILENO, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    text.remove_prefix(static_cast<size_t>(count));
  }
}

}  // namespace

void set_verbosity(Verbosity verbosity) { current_verbosity = verbosity; }
Verbosity verbosity() { return current_verbosity; }

void log_line(Verbosity needed, std::string_view line) {
  if (needed > current_verbosity.load()) return;
  std::lock_guard lock(stderr_mutex);
  std::string text;
  if (!status.empty()) text += kEraseLine;
  text.append(line).append("\n").append(status);
  put(text);
}

void set_status_line(std::string_view line) {
  std::lock_guard lock(stderr_mutex);
  if (status.empty() && line.empty()) return;
  status = line;
  put(std::string(kEraseLine) + status);
}

}  // namespace espalier
