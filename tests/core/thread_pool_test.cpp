#include "espalier/core/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "espalier/core/resources.h"

namespace espalier {
namespace {

class ThreadPool : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_thread_count(GetParam()); }
  void TearDown() override { set_thread_count(0); }
};

TEST_P(ThreadPool, VisitsEveryIndexOnce) {
  for (int64_t grain : {1, 3, 64, 5000}) {
    std::vector<std::atomic<int>> visits(1000);
    parallel_for(0, 1000, grain, [&](int64_t low, int64_t high) {
      ASSERT_LE(high - low, grain);
      for (int64_t i = low; i < high; ++i) ++visits[static_cast<size_t>(i)];
    });
    for (const auto& count : visits) ASSERT_EQ(count, 1);
  }
}

TEST_P(ThreadPool, ChunksDependOnTheRangeAlone) {
  std::mutex mutex;
  std::set<std::pair<int64_t, int64_t>> chunks;
  parallel_for(5, 26, 8, [&](int64_t low, int64_t high) {
    std::lock_guard lock(mutex);
    chunks.emplace(low, high);
  });
  EXPECT_EQ(chunks, (std::set<std::pair<int64_t, int64_t>>{{5, 13}, {13, 21}, {21, 26}}));
}

// 1/3^i spans many magnitudes, so that any other order of additions would give other bits.
float alternating_sum() {
  return parallel_reduce(
      0, 100000, 37, 0.0f,
      [](int64_t low, int64_t high) {
        float sum = 0;
        for (int64_t i = low; i < high; ++i)
          sum += std::sin(static_cast<float>(i)) * std::pow(3.0f, static_cast<float>(i % 23));
        return sum;
      },
      [](float a, float b) { return a + b; });
}

TEST_P(ThreadPool, ReductionHasTheSameBitsAsOneThread) {
  const float here = alternating_sum();
  set_thread_count(1);
  EXPECT_EQ(here, alternating_sum());
}

TEST_P(ThreadPool, CombinesInOrder) {
  const auto text = parallel_reduce(
      0, 10, 2, std::string(), [](int64_t low, int64_t) { return std::to_string(low); },
      [](std::string a, std::string b) { return a + b; });
  EXPECT_EQ(text, "02468");
}

TEST_P(ThreadPool, ExceptionsReachTheCaller) {
  for (int round = 0; round < 20; ++round) {
    EXPECT_THROW(parallel_for(0, 100, 1,
                              [](int64_t low, int64_t) {
                                if (low == 40) throw std::invalid_argument("forty");
                              }),
                 std::invalid_argument);
  }
  std::atomic<int> sum{0};  // and the pool is still whole
  parallel_for(0, 10, 1, [&](int64_t low, int64_t) { sum += static_cast<int>(low); });
  EXPECT_EQ(sum, 45);
}

TEST_P(ThreadPool, NestedLoopsRunInline) {
  std::atomic<int> sum{0}, elsewhere{0};
  parallel_for(0, 8, 1, [&](int64_t, int64_t) {
    const auto outer = std::this_thread::get_id();
    parallel_for(0, 100, 10, [&](int64_t low, int64_t high) {
      if (GetParam() > 1 && std::this_thread::get_id() != outer) ++elsewhere;
      sum += static_cast<int>(high - low);
    });
  });
  EXPECT_EQ(sum, 800);
  EXPECT_EQ(elsewhere, 0);
}

TEST_P(ThreadPool, SeveralCallersAtOnce) {
  std::atomic<int> sum{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i)
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) parallel_for(0, 20, 1, [&](int64_t, int64_t) { ++sum; });
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(sum, 3000);
}

TEST_P(ThreadPool, EmptyRangeCallsNothing) {
  parallel_for(3, 3, 1, [](int64_t, int64_t) { FAIL(); });
  EXPECT_EQ(parallel_reduce(
                3, 3, 1, 7, [](int64_t, int64_t) { return 1; }, [](int a, int b) { return a + b; }),
            7);
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPool, ::testing::Values(1, 2, 13));

TEST(ThreadCount, ZeroMeansAllThatMayBeUsed) {
  set_thread_count(0);
  EXPECT_EQ(thread_count(), available_cores());
  set_thread_count(5);
  EXPECT_EQ(thread_count(), 5);
  set_thread_count(0);
}

}  // namespace
}  // namespace espalier
