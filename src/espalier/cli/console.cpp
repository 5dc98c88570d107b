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

}  // namespace espalier
