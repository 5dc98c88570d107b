#include "espalier/core/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <mutex>
#include <string_view>

#include "espalier/core/error.h"

namespace espalier {
namespace {

volatile sig_atomic_t stop_requested = 0;
std::mutex hint_mutex;
std::string resume_hint;  // guarded by hint_mutex

// From here to the next function of the header: only async-signal-safe calls.
void say(std::string_view text) {
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // nobody left to tell
}

void on_stop(int) {
  if (stop_requested) _exit(130);
  stop_requested = 1;
  const int saved = errno;
  say("\nespalier: stopping at the next safe point (once more to stop at once)\n");
  errno = saved;
}

// A line of /proc/self/maps, "7f00-7f80 r--p 00000000 08:01 42   /a/path", read byte by byte: an interrupted process
// may neither allocate nor use streams.
class MapsLine {
 public:
  bool read_from(int fd) {
    size_ = 0;
    for (char c; ::read(fd, &c, 1) == 1 && c != '\n';)
      if (size_ < sizeof(text_)) text_[size_++] = c;
    return size_ > 0;
  }

  bool covers(uintptr_t address) const {
    size_t at = 0;
    const uintptr_t low = hex(at);
    ++at;  // '-'
    return address >= low && address < hex(at);
  }

  std::string_view path() const {
    const std::string_view line(text_, size_);
    const size_t slash = line.find('/');
    return slash == std::string_view::npos ? "a mapped file" : line.substr(slash);
  }

 private:
  uintptr_t hex(size_t& at) const {
    uintptr_t value = 0;
    for (; at < size_; ++at) {
      const char c = text_[at];
      if (c >= '0' && c <= '9') {
        value = value * 16 + static_cast<uintptr_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        value = value * 16 + static_cast<uintptr_t>(c - 'a' + 10);
      } else {
        break;
      }
    }
    return value;
  }

  char text_[4352];  // PATH_MAX and the columns before it
  size_t size_ = 0;
};

void on_bus_error(int signal, siginfo_t* info, void*) {
  if (info->si_code != BUS_ADRERR) {  // not a missing page of a file: a defect of ours
    ::signal(signal, SIG_DFL);
    ::raise(signal);
    return;
  }
  static MapsLine line;
  say("espalier: error: ");
  const int fd = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  bool found = false;
  while (fd >= 0 && !found && line.read_from(fd)) found = line.covers(reinterpret_cast<uintptr_t>(info->si_addr));
  say(found ? line.path() : "a mapped file");
  say(": the file was truncated, or its disk failed, while espalier was reading it\n");
  _exit(2);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, nullptr);
}

}  // namespace

void install_signal_handlers() {
  handle(SIGINT, on_stop);
  handle(SIGTERM, on_stop);
  handle(SIGPIPE, SIG_IGN);
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

bool interrupted() { return stop_requested != 0; }

void check_interrupted() {
  if (!interrupted()) return;
  std::lock_guard lock(hint_mutex);
  throw Interrupted(resume_hint.empty() ? "interrupted" : "interrupted: " + resume_hint);
}

void set_resume_hint(std::string hint) {
  std::lock_guard lock(hint_mutex);
  resume_hint = std::move(hint);
}

}  // namespace espalier
