#include "espalier/core/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "espalier/core/error.h"
#include "espalier/core/resources.h"

namespace espalier {
namespace {

thread_local bool inside_loop = false;

struct Loop {
  int64_t begin, end, grain, chunks;
  const std::function<void(int64_t, int64_t)>& fn;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;  // guards the two below
  int64_t failed_chunk = 0;
  std::exception_ptr failure = nullptr;

  void run_chunk(int64_t chunk) {
    const int64_t low = begin + chunk * grain;
    fn(low, std::min(end, low + grain));
  }

  void keep_failure(int64_t chunk) {
    std::lock_guard lock(mutex);
    if (!failure || chunk < failed_chunk) {
      failure = std::current_exception();
      failed_chunk = chunk;
    }
    failed = true;
  }

  // Takes chunks until none is left; called by every thread that helps.
  void work() {
    inside_loop = true;
    while (!failed) {
      const int64_t chunk = next.fetch_add(1);
      if (chunk >= chunks) break;
      try {
        run_chunk(chunk);
      } catch (...) {
        keep_failure(chunk);
      }
    }
    inside_loop = false;
  }
};

class Pool {
 public:
  explicit Pool(int count) : count_(count) {
    for (int i = 1; i < count; ++i) workers_.emplace_back([this] { serve(); });
  }

  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  int count() const { return count_; }

  void run(Loop& loop) {
    {
      std::lock_guard lock(mutex_);
      loop_ = &loop;
      ++generation_;
      busy_ = static_cast<int>(workers_.size());
    }
    wake_.notify_all();
    loop.work();
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return busy_ == 0; });
    loop_ = nullptr;
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    for (uint64_t seen = 0;;) {
      wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
      Loop* loop = loop_;
      lock.unlock();
      loop->work();
      lock.lock();
      if (--busy_ == 0) idle_.notify_one();
    }
  }

  int count_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  Loop* loop_ = nullptr;
  uint64_t generation_ = 0;
  int busy_ = 0;
  bool stopping_ = false;
};

std::atomic<int> wanted_count{0};

// The pool and the right to use it. Leaked on purpose: a worker blocked at process exit must not be joined from a
// static destructor, which would hang after exit() inside a loop.
struct Shared {
  std::mutex in_use;
  std::unique_ptr<Pool> pool;
};

Shared& shared() {
  static auto* const instance = new Shared;
  return *instance;
}

void run_inline(Loop& loop) {
  for (int64_t chunk = 0; chunk < loop.chunks; ++chunk) loop.run_chunk(chunk);
}

}  // namespace

void set_thread_count(int count) {
  ESP_ASSERT(count >= 0 && !inside_loop, "{} threads", count);
  wanted_count = count;
}

int thread_count() {
  const int wanted = wanted_count;
  return wanted > 0 ? wanted : available_cores();
}

void parallel_for(int64_t begin, int64_t end, int64_t grain, const std::function<void(int64_t, int64_t)>& fn) {
  if (begin >= end) return;
  ESP_ASSERT(grain > 0, "grain {}", grain);
  Loop loop{begin, end, grain, (end - begin + grain - 1) / grain, fn};
  const int threads = thread_count();
  std::unique_lock lock(shared().in_use, std::defer_lock);
  if (inside_loop || loop.chunks == 1 || threads == 1 || !lock.try_lock()) return run_inline(loop);
  auto& pool = shared().pool;
  if (!pool || pool->count() != threads) {
    pool.reset();
    pool = std::make_unique<Pool>(threads);
  }
  pool->run(loop);
  if (loop.failure) std::rethrow_exception(loop.failure);
}

}  // namespace espalier
