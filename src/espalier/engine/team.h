// Threads that run one function together, each with its rank, and meet at barriers: a whole forward is one run(), so that
// a step of some hundred small operations pays for some hundred spins instead of as many wake-ups.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace espalier {

struct Slice {
  int64_t begin = 0, end = 0;
};
// The part of 0 … count-1 that belongs to `rank` of `size`, cut at multiples of `grain`; depends on nothing else.
Slice slice_of(int64_t count, int rank, int size, int64_t grain = 1);

class Team {
 public:
  explicit Team(int size);  // at least 1; the caller of run() is rank 0
  ~Team();
  Team(const Team&) = delete;

  int size() const { return size_; }
  // fn(rank) on every thread; returns when all have returned. fn must not throw. One run at a time.
  void run(const std::function<void(int)>& fn);
  // Inside run(): goes on when every rank has come here.
  void barrier();

 private:
  void serve(int rank);

  int size_;
  std::vector<std::thread> threads_;
  const std::function<void(int)>* fn_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<bool> stopping_{false};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};  // 32 bits: what the kernel can wait for
};

// What an operation that all ranks enter together gets.
struct TeamRank {
  Team* team = nullptr;
  int rank = 0;
  int size() const { return team->size(); }
  void barrier() const { team->barrier(); }
  Slice slice(int64_t count, int64_t grain = 1) const { return slice_of(count, rank, team->size(), grain); }
};

}  // namespace espalier
