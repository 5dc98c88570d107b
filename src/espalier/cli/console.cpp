#include "espalier/cli/console.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "espalier/core/error.h"

namespace espalier {

void ensure_standard_descriptors() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    // open() gives the lowest free number, which is fd itself because the lower ones are taken by now.
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) < 0) return;
}

void write_stdout(std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(STDOUT_FILENO, text.data(), text.size());
    if (put >= 0) {
      text.remove_prefix(static_cast<size_t>(put));
    } else if (errno == EPIPE) {
      ::_exit(0);
    } else if (errno != EINTR) {
      user_error("standard output: cannot write: {}", std::strerror(errno));
    }
  }
}

std::string read_stdin(uint64_t most) {
  std::string text;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got == 0) return text;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) user_error("standard input: cannot read: {}", std::strerror(errno));
    text.append(buffer, static_cast<size_t>(got));
    if (text.size() > most) user_error("standard input: longer than {} bytes", most);
  }
}

}  // namespace espalier
