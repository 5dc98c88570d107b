// Loops over the threads that oneDNN uses too, so that both share one pool.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace espalier {

// fn(begin, end) over parts of 0 … count-1, one a thread; at once when the work (elements in all) is not worth waking
// threads for. No part may write what another reads, and no sum may run across parts.
template <typename Fn>
void parallel_parts(int64_t count, int64_t work, const Fn& fn) {
  if (count <= 0) return;
#ifdef _OPENMP
  constexpr int64_t kWorthwhile = 16384;
  if (work >= kWorthwhile && count > 1 && omp_get_max_threads() > 1 && !omp_in_parallel()) {
#pragma omp parallel
    {
      const int64_t threads = omp_get_num_threads(), rank = omp_get_thread_num();
      const int64_t begin = count * rank / threads, end = count * (rank + 1) / threads;
      if (begin < end) fn(begin, end);
    }
    return;
  }
#else
  (void)work;
#endif
  fn(int64_t{0}, count);
}

// Within a scope, as many threads as asked for; before and after it, as many as the caller had.
class ThreadScope {
 public:
#ifdef _OPENMP
  explicit ThreadScope(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~ThreadScope() { omp_set_num_threads(before_); }
#else
  explicit ThreadScope(int) {}
#endif
  ThreadScope(const ThreadScope&) = delete;

 private:
#ifdef _OPENMP
  int before_;
#endif
};

}  // namespace espalier
