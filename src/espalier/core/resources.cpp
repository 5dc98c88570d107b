#include "espalier/core/resources.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr auto kSampleInterval = std::chrono::milliseconds(5);

// Kernel files report size 0, so they are read to their end. "" when absent.
std::string kernel_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

uint64_t status_field(const std::string& field) { return proc_field_bytes(kernel_file("/proc/self/status"), field); }

std::optional<uint64_t> number_in(const std::filesystem::path& path) {
  std::istringstream text(kernel_file(path));
  uint64_t value;
  return text >> value ? std::optional(value) : std::nullopt;
}

// This process's folder in a cgroup v2 tree; containers usually see their own limits at the root.
std::filesystem::path cgroup_directory() {
  const std::filesystem::path root = "/sys/fs/cgroup";
  std::istringstream lines(kernel_file("/proc/self/cgroup"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("0::/")) continue;
    const auto own = root / line.substr(4);
    if (std::filesystem::exists(own / "cgroup.controllers")) return own;
  }
  return root;
}

std::optional<uint64_t> cgroup_free(const std::filesystem::path& limit_file, const std::filesystem::path& usage_file) {
  const auto limit = number_in(limit_file), usage = number_in(usage_file);  // "max" is no number: no limit
  if (!limit || !usage) return std::nullopt;
  return *limit > *usage ? *limit - *usage : 0;
}

}  // namespace

uint64_t proc_field_bytes(const std::string& text, const std::string& field) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(field + ":")) continue;
    std::istringstream rest(line.substr(field.size() + 1));
    uint64_t kilobytes = 0;
    rest >> kilobytes;
    return kilobytes * 1024;
  }
  return 0;
}

int cores_of_quota(const std::string& cpu_max) {
  std::istringstream text(cpu_max);
  double quota, period;
  if (!(text >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return std::max(1, static_cast<int>(std::ceil(quota / period)));
}

uint64_t peak_rss_bytes() { return status_field("VmHWM"); }
uint64_t rss_bytes() { return status_field("VmRSS"); }
uint64_t anonymous_rss_bytes() { return status_field("RssAnon"); }

uint64_t available_memory_bytes() {
  uint64_t free = proc_field_bytes(kernel_file("/proc/meminfo"), "MemAvailable");
  const auto own = cgroup_directory();
  const std::filesystem::path v1 = "/sys/fs/cgroup/memory";
  if (auto v2_free = cgroup_free(own / "memory.max", own / "memory.current")) free = std::min(free, *v2_free);
  if (auto v1_free = cgroup_free(v1 / "memory.limit_in_bytes", v1 / "memory.usage_in_bytes"))
    free = std::min(free, *v1_free);
  return free;
}

int available_cores() {
  static const int cores = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    int count = ::sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set)
                                                               : static_cast<int>(std::thread::hardware_concurrency());
    if (int quota = cores_of_quota(kernel_file(cgroup_directory() / "cpu.max"))) count = std::min(count, quota);
    return std::max(1, count);
  }();
  return cores;
}

uint64_t disk_free_bytes(const std::filesystem::path& path) {
  std::error_code error;
  auto place = std::filesystem::absolute(path);
  while (!std::filesystem::exists(place, error) && place.has_relative_path()) place = place.parent_path();
  const auto space = std::filesystem::space(place, error);
  if (error) user_error("{}: cannot tell the free space: {}", place.string(), error.message());
  return space.available;
}

std::filesystem::path program_directory() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::filesystem::current_path() : program.parent_path();
}

AnonymousPeak::AnonymousPeak() : peak_(anonymous_rss_bytes()), thread_([this] { sample(); }) {}

AnonymousPeak::~AnonymousPeak() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void AnonymousPeak::sample() {
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, kSampleInterval, [this] { return stopping_; }))
    peak_ = std::max(peak_.load(), anonymous_rss_bytes());
}

uint64_t AnonymousPeak::peak() {
  std::lock_guard lock(mutex_);
  peak_ = std::max(peak_.load(), anonymous_rss_bytes());
  return peak_;
}

}  // namespace espalier
