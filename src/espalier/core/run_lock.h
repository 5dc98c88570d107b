// One run at a time in a directory: a file "lock", held with flock while the process lives, whose text names pid and
// host.
#pragma once

#include <filesystem>
#include <string>

namespace espalier {

class RunLock {
 public:
  RunLock() = default;
  ~RunLock() { release(); }
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  // Creates the directory if need be. A lock whose process is gone is taken over; UserError naming the live holder,
  // with `what` as the place that it works on.
  void acquire(const std::filesystem::path& directory, const std::string& what);
  void release();
  bool held() const { return fd_ >= 0; }
  static constexpr const char* kName = "lock";

 private:
  int fd_ = -1;
};

}  // namespace espalier
