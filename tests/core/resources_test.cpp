#include "espalier/core/resources.h"

#include <sys/mman.h>

#include <cstring>

#include "tests/support.h"

namespace espalier {
namespace {

TEST(Resources, ParsesProcFields) {
  const std::string text = "VmPeak:\t  900 kB\nVmHWM:\t    123 kB\nRssAnon:\t 7 kB\n";
  EXPECT_EQ(proc_field_bytes(text, "VmHWM"), 123u * 1024);
  EXPECT_EQ(proc_field_bytes(text, "RssAnon"), 7u * 1024);
  EXPECT_EQ(proc_field_bytes(text, "Rss"), 0u);  // no prefix match
}

TEST(Resources, ParsesCpuQuota) {
  EXPECT_EQ(cores_of_quota("max 100000\n"), 0);
  EXPECT_EQ(cores_of_quota("150000 100000\n"), 2);
  EXPECT_EQ(cores_of_quota("10000 100000\n"), 1);
  EXPECT_EQ(cores_of_quota(""), 0);
}

TEST(Resources, AnonymousPeakSeesWhatWasFreedAgain) {
  constexpr size_t kBytes = 64u << 20;
  AnonymousPeak peak;
  const uint64_t before = anonymous_rss_bytes();
  // Pages of the kernel's: an allocator may keep what is freed, and AddressSanitizer's does.
  void* block = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  std::memset(block, 1, kBytes);
  EXPECT_GT(peak.peak(), before + kBytes * 9 / 10);
  ::munmap(block, kBytes);
  EXPECT_LT(anonymous_rss_bytes(), before + kBytes / 2);
  EXPECT_GT(peak.peak(), before + kBytes * 9 / 10);
  EXPECT_GE(peak_rss_bytes(), rss_bytes());
}

TEST(Resources, MachineFiguresAreSane) {
  EXPECT_GT(available_memory_bytes(), 1u << 20);
  EXPECT_GE(available_cores(), 1);
}

TEST(Resources, DiskFreeOfAPathThatDoesNotExistYet) {
  test::TempDir dir;
  EXPECT_GT(disk_free_bytes(dir / "a/b/c"), 0u);
}

TEST(Resources, ProgramDirectoryHoldsThisTest) {
  EXPECT_TRUE(std::filesystem::exists(program_directory() / "core_tests")) << program_directory();
}

}  // namespace
}  // namespace espalier
