#include "espalier/core/run_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <utility>

#include "espalier/core/error.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

struct Holder {
  long pid = 0;
  std::string host = "?";
};

Holder holder_of(int fd) {
  char text[512] = {};
  char host[256] = "?";
  Holder holder;
  if (::pread(fd, text, sizeof(text) - 1, 0) > 0 && std::sscanf(text, "%ld %255s", &holder.pid, host) == 2)
    holder.host = printable(host);
  return holder;
}

bool is_alive(const Holder& holder) {
  return holder.host == host_name() && holder.pid > 0 && holder.pid != ::getpid() &&
         ::kill(static_cast<pid_t>(holder.pid), 0) == 0;
}

// The kernel drops a flock with its process, so a free one has no live holder. Some network file systems know no
// flock; there the text decides.
bool is_free(int fd) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
  return errno != EWOULDBLOCK && errno != EINTR && !is_alive(holder_of(fd));
}

// The file that was locked is still the one under this name: its owner may have removed it in between.
bool still_named(int fd, const fs::path& path) {
  struct stat locked = {}, named = {};
  return ::fstat(fd, &locked) == 0 && ::stat(path.c_str(), &named) == 0 && locked.st_ino == named.st_ino;
}

void write_text(int fd, const fs::path& path) {
  const auto text = fmt::format("{} {}\n", ::getpid(), host_name());
  bool written = ::ftruncate(fd, 0) == 0;
  for (size_t done = 0; written && done < text.size();) {
    const ssize_t put = ::pwrite(fd, text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (put < 0 && errno == EINTR) continue;
    written = put > 0;
    done += written ? static_cast<size_t>(put) : 0;
  }
  if (!written) user_error("{}: cannot write the lock: {}", path.string(), std::strerror(errno));
}

}  // namespace

void RunLock::acquire(const fs::path& directory, const std::string& what) {
  const auto path = directory / kName;
  do {
    release();
    std::error_code error;
    fs::create_directories(directory, error);
    if (error) user_error("{}: cannot create the directory: {}", directory.string(), error.message());
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd_ < 0) user_error("{}: cannot create the lock: {}", path.string(), std::strerror(errno));
    if (!is_free(fd_)) {
      const auto holder = holder_of(fd_);
      release();
      user_error("{}: another run is at work there (process {} on {})", what, holder.pid, holder.host);
    }
  } while (!still_named(fd_, path));
  write_text(fd_, path);
}

void RunLock::release() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace espalier
