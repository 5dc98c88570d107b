#include "espalier/engine/attention/slab_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <set>

#include "espalier/engine/attention/page_pool.h"
#include "tests/support.h"

namespace espalier {
namespace {

TEST(SlabFile, PagesAreZeroedAndItsRoomComesBack) {
  const test::TempDir dir;
  const auto file = std::make_shared<SlabFile>(dir.path());
  PagePool pool(16384, file);
  std::set<std::byte*> pages;
  for (int i = 0; i < 1000; ++i) {
    std::byte* page = pool.take();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(page) % 64, 0u);
    for (size_t at = 0; at < 16384; at += 4095) EXPECT_EQ(page[at], std::byte{0});
    std::fill_n(page, 16384, std::byte{7});
    EXPECT_TRUE(pages.insert(page).second);
  }
  EXPECT_GE(file->disk_bytes(), 1000u * 16384) << "taken before it is written to";
  EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << "the file has no name";
  for (std::byte* page : pages) {
    EXPECT_EQ(page[16383], std::byte{7});
    pool.give(page);
  }
  EXPECT_EQ(pool.take()[5], std::byte{0}) << "a page that is used again";
  pool.trim();
  EXPECT_LT(file->disk_bytes(), 3u << 20) << "one slab is left";
}

TEST(SlabFile, AFolderThatCannotHoldItIsNamed) {
  ESP_EXPECT_USER_ERROR(SlabFile("/no/such/folder"), "/no/such/folder: slow memory: expected a directory in which a file can be made, found No such file or directory");
  const test::TempDir dir;
  ESP_EXPECT_USER_ERROR(SlabFile(dir / "missing"), "No such file");
  ESP_EXPECT_USER_ERROR(SlabFile("/proc"), "/proc: slow memory");
}

// A limit of the process stands for a full disk: the same call fails, before anything is touched.
TEST(SlabFile, NoRoomIsAnErrorAndWhatIsThereStays) {
  const test::TempDir dir;
  const auto file = std::make_shared<SlabFile>(dir.path());
  PagePool pool(65536, file);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{1u << 20, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::vector<std::byte*> pages;
  std::string error;
  try {
    for (int i = 0; i < 100; ++i) {
      pages.push_back(pool.take());
      std::fill_n(pages.back(), 65536, std::byte{3});
    }
  } catch (const UserError& full) {
    error = full.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_NE(error.find(dir.path().string() + ": slow memory: expected room for "), std::string::npos) << error;
  EXPECT_GE(pages.size(), 2u);
  EXPECT_LE(pages.size(), 16u);
  for (const std::byte* page : pages) EXPECT_EQ(page[65535], std::byte{3});
  EXPECT_NE(pool.take(), nullptr) << "with room again it goes on";
}

}  // namespace
}  // namespace espalier
