// What this process uses and what the machine (or its container) still has. Linux: /proc and cgroups.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>

namespace espalier {

uint64_t peak_rss_bytes();       // the most resident memory so far, mapped files included (VmHWM)
uint64_t rss_bytes();            // resident now (VmRSS)
uint64_t anonymous_rss_bytes();  // resident now, without the pages of mapped files (RssAnon): what really costs memory

// Free for this process: the least of what the machine has available and what the cgroup still allows.
uint64_t available_memory_bytes();

// Cores that this process may use: its affinity mask, cut by the cgroup's CPU quota; at least 1.
int available_cores();

// Free for unprivileged writers on the file system of `path`, which may not exist yet (its nearest parent counts).
uint64_t disk_free_bytes(const std::filesystem::path& path);

// The directory of the running program, through /proc/self/exe.
std::filesystem::path program_directory();

// The parsers behind them, on text: a field of /proc/self/status or /proc/meminfo in bytes (0 if absent), and
// cgroup v2's cpu.max as a number of cores (0: no limit).
uint64_t proc_field_bytes(const std::string& text, const std::string& field);
int cores_of_quota(const std::string& cpu_max);

// The highest anonymous_rss_bytes() between construction and peak(), sampled by a thread every few milliseconds;
// the kernel keeps no such high-water mark.
class AnonymousPeak {
 public:
  AnonymousPeak();
  ~AnonymousPeak();
  AnonymousPeak(const AnonymousPeak&) = delete;
  AnonymousPeak& operator=(const AnonymousPeak&) = delete;
  uint64_t peak();

 private:
  void sample();
  std::atomic<uint64_t> peak_{0};
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace espalier
