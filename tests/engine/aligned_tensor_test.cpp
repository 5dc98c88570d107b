#include "espalier/engine/aligned_tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace espalier {
namespace {

TEST(AlignedTensor, PartsOfOneSlabAreApartZeroedAndOutliveEachOther) {
  std::vector<AlignedTensor> made;
  // Tables, parts of slabs beyond the end of one, and a slab of its own.
  for (int64_t bytes : {0, 1, 63, 5000, 100'003, 7 << 20, 7 << 20, 7 << 20, 7 << 20, 7 << 20, 9 << 20}) made.push_back(aligned_tensor(DType::kI8, {bytes}));
  for (size_t i = 0; i < made.size(); ++i) {
    const auto size = static_cast<size_t>(made[i].tensor.count());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(made[i].bytes) % 64, 0u);
    EXPECT_TRUE(std::all_of(made[i].bytes, made[i].bytes + size, [](std::byte b) { return b == std::byte{0}; })) << i;
    std::memset(made[i].bytes, static_cast<int>(i + 1), size);
  }
  for (size_t i = 0; i < made.size(); i += 2) made[i] = {};
  for (size_t i = 1; i < made.size(); i += 2) {
    const auto size = static_cast<size_t>(made[i].tensor.count());
    EXPECT_TRUE(std::all_of(made[i].bytes, made[i].bytes + size, [&](std::byte b) { return b == static_cast<std::byte>(i + 1); })) << i;
  }
}

TEST(AlignedTensor, IsZeroWhereOthersWere) {
  for (int round = 0; round < 40; ++round) {  // more than a slab
    const AlignedTensor made = aligned_tensor(DType::kI8, {1 << 20});
    EXPECT_EQ(static_cast<int>(made.bytes[round]), 0);
    std::memset(made.bytes, 1, 1 << 20);
  }
}

}  // namespace
}  // namespace espalier
