// Preloaded into the program under test (LD_PRELOAD), it makes the k-th call fail that changes a file below one
// directory, or that asks for much memory. Environment:
//   ESPALIER_FAULT_DIR      the directory; other files are left alone
//   ESPALIER_FAULT_KIND     eio: the call fails · full: a write does half of its work, all other calls fail with ENOSPC
//                           · short: a write does half of its work · kill: SIGKILL before the call · power: the same,
//                           and what was not synced is lost · none: calls are counted only
//   ESPALIER_FAULT_AT       k, from 1
//   ESPALIER_FAULT_STUCK    1: every call from the k-th on
//   ESPALIER_FAULT_LOG      file that gets one line a counted call
//   ESPALIER_FAULT_BACKUP   directory on the same file system for what a power loss brings back
//   ESPALIER_FAULT_NO_EXCHANGE  1: the file system cannot exchange two names
//   ESPALIER_FAULT_ALLOC_MIN    allocations of at least so many bytes count instead of calls on files
//
// Power loss: every file with writes after its last fsync is cut to nothing, and what was created or renamed in a
// directory since that directory's last fsync is undone, newest first. New directories stay, and so does the removal
// of files: losing these only leaves more behind.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

enum class Kind { kNone, kEio, kFull, kShort, kKill, kPower };
enum class Fate { kGoOn, kFail, kShorten };
using FileId = std::pair<dev_t, ino_t>;

// Plain data, because malloc() is called before any constructor runs.
const char* fault_dir = nullptr;
const char* backup_dir = nullptr;
Kind kind = Kind::kNone;
long fault_at = 0, calls = 0;
bool stuck = false, no_exchange = false;
int log_fd = -1;
size_t alloc_min = SIZE_MAX;

bool hits(long number) { return fault_at > 0 && (number == fault_at || (stuck && number > fault_at)); }

void log_call(const char* call, const char* path) {
  if (log_fd < 0) return;
  char line[PATH_MAX + 64];
  const int size = std::snprintf(line, sizeof(line), "%ld %s %s\n", calls, call, path);
  if (syscall(SYS_write, log_fd, line, static_cast<size_t>(size)) < 0) _exit(99);
}

struct Change {
  enum What { kCreated, kRenamed, kExchanged } what;
  int from_dir, to_dir;  // O_PATH: they follow a directory that is itself renamed
  std::string from, to, backup;
  FileId parent;  // of `to`; its fsync makes the change last
};

// Never destroyed: the program may still write while its statics are torn down.
struct Unsynced {
  std::recursive_mutex mutex;
  std::map<FileId, int> files;
  std::vector<Change> changes;
  int backups = 0;
};

Unsynced& unsynced() {
  static auto* all = new Unsynced;
  return *all;
}

FileId id_of(int fd) {
  struct stat info {};
  fstat(fd, &info);
  return {info.st_dev, info.st_ino};
}

std::string path_of(int fd) {
  char link[64], path[PATH_MAX];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof(path));
  return size > 0 ? std::string(path, static_cast<size_t>(size)) : "";
}

bool is_watched(const std::string& path) {
  return fault_dir && path.starts_with(fault_dir) && path[std::strlen(fault_dir)] == '/';
}

bool writes(int fd) { return (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY; }

int open_parent(const std::string& path) {
  return static_cast<int>(
      syscall(SYS_openat, AT_FDCWD, path.substr(0, path.rfind('/')).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
}

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void undo(const Change& change) {
  if (change.what == Change::kCreated) {
    unlinkat(change.to_dir, change.to.c_str(), 0);
  } else {
    syscall(SYS_renameat2, change.to_dir, change.to.c_str(), change.from_dir, change.from.c_str(),
            change.what == Change::kExchanged ? RENAME_EXCHANGE : 0);
    if (!change.backup.empty()) linkat(AT_FDCWD, change.backup.c_str(), change.to_dir, change.to.c_str(), 0);
  }
}

[[noreturn]] void die(bool loses_power) {
  if (loses_power) {
    for (const auto& [id, fd] : unsynced().files)
      if (syscall(SYS_ftruncate, fd, 0) != 0) _exit(98);
    auto& changes = unsynced().changes;
    for (auto change = changes.rbegin(); change != changes.rend(); ++change) undo(*change);
  }
  kill(getpid(), SIGKILL);
  _exit(97);
}

Fate fate_of(const char* call, const std::string& path, bool is_write = false) {
  ++calls;
  log_call(call, path.c_str());
  if (!hits(calls)) return Fate::kGoOn;
  switch (kind) {
    case Kind::kNone:
      return Fate::kGoOn;
    case Kind::kEio:
      errno = EIO;
      return Fate::kFail;
    case Kind::kFull:
      errno = ENOSPC;
      return is_write && calls == fault_at ? Fate::kShorten : Fate::kFail;
    case Kind::kShort:
      return is_write ? Fate::kShorten : Fate::kGoOn;
    case Kind::kKill:
      die(false);
    case Kind::kPower:
      die(true);
  }
  return Fate::kGoOn;
}

void note_written(int fd) {
  if (kind != Kind::kPower || unsynced().files.count(id_of(fd))) return;
  char link[64];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  // Opened anew, not duplicated: a duplicate would share the file's lock.
  const long own = syscall(SYS_openat, AT_FDCWD, link, O_WRONLY | O_CLOEXEC, 0);
  if (own >= 0) unsynced().files[id_of(fd)] = static_cast<int>(own);
}

void note_synced(int fd) {
  const FileId id = id_of(fd);
  if (const auto file = unsynced().files.find(id); file != unsynced().files.end()) {
    syscall(SYS_close, file->second);
    unsynced().files.erase(file);
  }
  std::erase_if(unsynced().changes, [&](const Change& change) { return change.parent == id; });
}

void note_change(Change::What what, const std::string& from, const std::string& to, std::string backup = "") {
  if (kind != Kind::kPower) return;
  const int to_dir = open_parent(to);
  unsynced().changes.push_back(
      {what, from.empty() ? -1 : open_parent(from), to_dir, name_of(from), name_of(to), std::move(backup), id_of(to_dir)});
}

// A second name for what a rename is about to replace.
std::string backup_of(const std::string& path) {
  if (kind != Kind::kPower || !backup_dir) return "";
  const std::string backup = std::string(backup_dir) + "/" + std::to_string(unsynced().backups++);
  return link(path.c_str(), backup.c_str()) == 0 ? backup : "";
}

long write_with_fate(int fd, size_t bytes, const char* call, long (*real)(int, const void*, size_t, off_t),
                     const void* data, off_t at) {
  const std::string path = path_of(fd);
  if (!is_watched(path)) return real(fd, data, bytes, at);
  std::lock_guard lock(unsynced().mutex);
  const Fate fate = fate_of(call, path, true);
  if (fate == Fate::kFail) return -1;
  const long put = real(fd, data, fate == Fate::kShorten ? (bytes + 1) / 2 : bytes, at);
  if (put > 0) note_written(fd);
  return put;
}

int open_with_fate(int directory, const char* path, int flags, mode_t mode) {
  const bool creates = fault_dir && (flags & O_CREAT) && is_watched(path);
  if (!creates) return static_cast<int>(syscall(SYS_openat, directory, path, flags, mode));
  std::lock_guard lock(unsynced().mutex);
  if (fate_of("open", path) == Fate::kFail) return -1;
  const bool is_new = access(path, F_OK) != 0;
  const long fd = syscall(SYS_openat, directory, path, flags, mode);
  if (fd >= 0 && is_new) note_change(Change::kCreated, "", path);
  return static_cast<int>(fd);
}

int rename_with_fate(const char* from, const char* to, unsigned flags) {
  const bool watched = is_watched(from) || is_watched(to);
  if (watched && no_exchange && (flags & RENAME_EXCHANGE)) {
    errno = EINVAL;
    return -1;
  }
  std::lock_guard lock(unsynced().mutex);
  if (watched && fate_of(flags & RENAME_EXCHANGE ? "exchange" : "rename", to) == Fate::kFail) return -1;
  const std::string backup = watched && flags == 0 ? backup_of(to) : "";
  const long result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
  if (result == 0 && watched)
    note_change(flags & RENAME_EXCHANGE ? Change::kExchanged : Change::kRenamed, from, to, backup);
  return static_cast<int>(result);
}

bool allocation_fails(size_t bytes) {
  if (bytes < alloc_min) return false;
  ++calls;
  char size[32];
  std::snprintf(size, sizeof(size), "%zu", bytes);
  log_call("allocate", size);
  return hits(calls);
}

void* unless_it_fails(size_t bytes, void* (*real)(size_t, size_t), size_t first, size_t second) {
  if (!allocation_fails(bytes)) return real(first, second);
  errno = ENOMEM;
  return nullptr;
}

__attribute__((constructor)) void read_settings() {
  const auto is_set = [](const char* name) { return std::getenv(name) != nullptr; };
  const auto number = [](const char* name) { return std::getenv(name) ? std::atol(std::getenv(name)) : 0; };
  const std::pair<const char*, Kind> kinds[] = {{"eio", Kind::kEio},     {"full", Kind::kFull}, {"short", Kind::kShort},
                                                {"kill", Kind::kKill}, {"power", Kind::kPower}};
  const char* word = std::getenv("ESPALIER_FAULT_KIND");
  for (const auto& [name, value] : kinds)
    if (word && std::strcmp(word, name) == 0) kind = value;
  if (const char* log = std::getenv("ESPALIER_FAULT_LOG"))
    log_fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  fault_at = number("ESPALIER_FAULT_AT");
  stuck = is_set("ESPALIER_FAULT_STUCK");
  no_exchange = is_set("ESPALIER_FAULT_NO_EXCHANGE");
  backup_dir = std::getenv("ESPALIER_FAULT_BACKUP");
  fault_dir = std::getenv("ESPALIER_FAULT_DIR");
  if (is_set("ESPALIER_FAULT_ALLOC_MIN")) alloc_min = static_cast<size_t>(number("ESPALIER_FAULT_ALLOC_MIN"));
}

mode_t mode_of(int flags, va_list list) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; }

}  // namespace

extern "C" {

ssize_t write(int fd, const void* data, size_t bytes) {
  return write_with_fate(
      fd, bytes, "write", [](int to, const void* d, size_t n, off_t) { return syscall(SYS_write, to, d, n); }, data, 0);
}

ssize_t pwrite(int fd, const void* data, size_t bytes, off_t at) {
  return write_with_fate(
      fd, bytes, "pwrite", [](int to, const void* d, size_t n, off_t o) { return syscall(SYS_pwrite64, to, d, n, o); },
      data, at);
}
ssize_t pwrite64(int fd, const void* data, size_t bytes, off64_t at) { return pwrite(fd, data, bytes, at); }

int ftruncate(int fd, off_t size) noexcept {
  const std::string path = path_of(fd);
  std::lock_guard lock(unsynced().mutex);
  if (is_watched(path) && fate_of("ftruncate", path) == Fate::kFail) return -1;
  const long result = syscall(SYS_ftruncate, fd, size);
  if (result == 0 && is_watched(path)) note_written(fd);
  return static_cast<int>(result);
}
int ftruncate64(int fd, off64_t size) noexcept { return ftruncate(fd, size); }

int fsync(int fd) {
  const std::string path = path_of(fd);
  std::lock_guard lock(unsynced().mutex);
  const bool watched = is_watched(path + "/");  // the directory itself, too
  if (watched && fate_of("fsync", path) == Fate::kFail) return -1;
  const long result = syscall(SYS_fsync, fd);
  if (result == 0 && watched) note_synced(fd);
  return static_cast<int>(result);
}

int close(int fd) {
  const bool watched = fault_dir && writes(fd) && is_watched(path_of(fd));
  std::lock_guard lock(unsynced().mutex);
  const bool fails = watched && fate_of("close", path_of(fd)) == Fate::kFail;
  const int error = errno;
  const long result = syscall(SYS_close, fd);  // the descriptor is gone even where close() reports an error
  if (!fails) return static_cast<int>(result);
  errno = error;
  return -1;
}

int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return open_with_fate(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return open_with_fate(AT_FDCWD, path, flags, mode);
}

int mkdir(const char* path, mode_t mode) noexcept {
  std::lock_guard lock(unsynced().mutex);
  if (is_watched(path) && fate_of("mkdir", path) == Fate::kFail) return -1;
  return static_cast<int>(syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

int rename(const char* from, const char* to) noexcept { return rename_with_fate(from, to, 0); }
int renameat2(int, const char* from, int, const char* to, unsigned flags) noexcept {
  return rename_with_fate(from, to, flags);  // the program under test gives absolute paths
}

void* malloc(size_t bytes) {
  return unless_it_fails(bytes, [](size_t n, size_t) { return __libc_malloc(n); }, bytes, 0);
}
void* calloc(size_t count, size_t size) { return unless_it_fails(count * size, __libc_calloc, count, size); }
void* memalign(size_t alignment, size_t bytes) { return unless_it_fails(bytes, __libc_memalign, alignment, bytes); }
void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
void* realloc(void* old, size_t bytes) {
  if (!allocation_fails(bytes)) return __libc_realloc(old, bytes);
  errno = ENOMEM;
  return nullptr;
}
int posix_memalign(void** result, size_t alignment, size_t bytes) {
  void* memory = memalign(alignment, bytes);
  if (!memory && bytes > 0) return ENOMEM;
  *result = memory;
  return 0;
}

}  // extern "C"
