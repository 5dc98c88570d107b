#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// Its memory's address once a tensor of so many floats was freed.
void* freed(int64_t floats) { return at::empty({floats}).data_ptr(); }

TEST(KeepingAllocator, GivesFreedMemoryToTheNextOfItsSize) {
  constexpr int64_t kFloats = 30000017;  // larger than what other tests leave behind
  void* before = freed(kFloats);
  EXPECT_EQ(freed(kFloats), before);
  EXPECT_EQ(freed(kFloats * 9 / 10), before) << "little is wasted";
  EXPECT_NE(freed(kFloats / 2), before) << "half would be";
  EXPECT_NE(freed(kFloats + 1), before) << "too small";
  const at::Tensor held = at::zeros({kFloats});
  const at::Tensor other = at::ones({kFloats});
  EXPECT_NE(held.data_ptr(), other.data_ptr());
  EXPECT_EQ(held.sum().item<double>(), 0);
}

TEST(KeepingAllocator, NewTensorsOfZerosAreZero) {
  for (int i = 0; i < 3; ++i) {
    at::Tensor x = at::zeros({2000003});
    EXPECT_EQ(x.abs().max().item<float>(), 0);
    x.fill_(7);
  }
}

TEST(KeepingAllocator, ServesThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int rank = 0; rank < 4; ++rank)
    threads.emplace_back([rank, &wrong] {
      for (int i = 0; i < 50; ++i) {
        const at::Tensor x = at::full({100000 + 1000 * (i % 7)}, static_cast<double>(rank));
        if (!x.eq(static_cast<double>(rank)).all().item<bool>()) ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace espalier
