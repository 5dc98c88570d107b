#include "espalier/engine/attention/page_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

namespace espalier {
namespace {

// Bytes of the process that are in memory.
uint64_t resident() {
  std::ifstream file("/proc/self/statm");
  uint64_t size = 0, pages = 0;
  file >> size >> pages;
  return pages * 4096;
}

TEST(PagePool, PagesAreZeroAlignedAndApart) {
  PagePool pool(1000);
  EXPECT_EQ(pool.page_bytes(), 1024u);
  std::set<std::byte*> pages;
  for (int i = 0; i < 3000; ++i) {
    std::byte* page = pool.take();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(page) % 64, 0u);
    for (size_t at = 0; at < 1024; at += 341) EXPECT_EQ(page[at], std::byte{0});
    std::fill_n(page, 1024, std::byte{1});
    if (const auto next = pages.lower_bound(page); next != pages.end()) EXPECT_GE(*next - page, 1024);
    pages.insert(page);
  }
  EXPECT_EQ(pages.size(), 3000u);
  EXPECT_EQ(pool.taken_bytes(), 3000u * 1024);
  std::byte* again = *pages.begin();
  pool.give(again);
  EXPECT_EQ(pool.take(), again);
  EXPECT_EQ(again[500], std::byte{0});
}

TEST(PagePool, MemoryGoesBackToTheSystem) {
  PagePool pool(16384);
  std::vector<std::byte*> pages;
  const uint64_t before = resident();
  for (int i = 0; i < 6000; ++i) {
    pages.push_back(pool.take());
    std::fill_n(pages.back(), 16384, std::byte{1});
  }
  EXPECT_GT(resident(), before + 90'000'000);
  for (std::byte* page : pages) pool.give(page);
  pool.trim();
  EXPECT_LT(resident(), before + 10'000'000);
  EXPECT_EQ(pool.reserved_bytes(), 0u);
  EXPECT_EQ(pool.taken_bytes(), 0u);
}

TEST(PagePool, AFewPagesTakeLittle) {
  PagePool pool(5000);
  pool.take();
  EXPECT_LE(pool.reserved_bytes(), 131072u);
  PagePool large(5'000'000);
  large.take();
  EXPECT_LT(large.reserved_bytes(), 5'010'000u);
}

}  // namespace
}  // namespace espalier
