#include "espalier/engine/team.h"

#include <immintrin.h>

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// At a barrier the others are a few microseconds away, unless they wait for a core that somebody else has: then this
// thread sleeps, for who spins uses up his share of a busy machine.
constexpr int kBarrierSpins = 2000;
// Between two runs of a decoding loop a token is sampled; a team that nobody calls goes to sleep.
constexpr int kIdleSpins = 20000;

template <typename Done>
bool spin(const Done& done, int times) {
  for (int i = 0; i < times; ++i) {
    if (done()) return true;
    _mm_pause();
  }
  return done();
}

}  // namespace

Slice slice_of(int64_t count, int rank, int size, int64_t grain) {
  const int64_t pieces = (count + grain - 1) / grain;
  const auto at = [&](int64_t r) { return std::min(count, pieces * r / size * grain); };
  return {at(rank), at(rank + 1)};
}

Team::Team(int size) : size_(size) {
  ESP_ASSERT(size >= 1);
  for (int rank = 1; rank < size; ++rank) threads_.emplace_back([this, rank] { serve(rank); });
}

Team::~Team() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Team::run(const std::function<void(int)>& fn) {
  if (size_ > 1) {
    {
      std::lock_guard lock(mutex_);
      fn_ = &fn;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
  }
  fn(0);
  barrier();
}

void Team::barrier() {
  if (size_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    phase_.notify_all();
    return;
  }
  const auto passed = [&] { return phase_.load(std::memory_order_acquire) != phase; };
  if (!spin(passed, kBarrierSpins)) phase_.wait(phase, std::memory_order_acquire);
}

void Team::serve(int rank) {
  uint64_t seen = 0;
  for (;;) {
    const auto called = [&] { return generation_.load(std::memory_order_acquire) != seen; };
    if (!spin(called, kIdleSpins)) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || called(); });
    }
    if (stopping_) return;
    seen = generation_.load(std::memory_order_acquire);
    (*fn_)(rank);
    barrier();
  }
}

}  // namespace espalier
