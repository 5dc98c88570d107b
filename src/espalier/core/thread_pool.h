// Loops over a fixed set of worker threads. Work is cut into chunks of `grain` that depend only on the range, never on
// the number of threads, so a reduction gives the same bits with 1, 2 or 64 threads.
#pragma once

#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

namespace espalier {

void set_thread_count(int count);  // 0: as many as this process may use. Not while a loop runs.
int thread_count();

// fn(begin, end) for consecutive chunks [begin, begin + grain), …; every index once. Inside another parallel_for, or
// while another thread uses the pool, the chunks run one after another on the caller. An exception of fn stops the
// hand-out of further chunks and is rethrown here (of several, the one of the lowest chunk).
void parallel_for(int64_t begin, int64_t end, int64_t grain, const std::function<void(int64_t, int64_t)>& fn);

// combine(… combine(combine(identity, map(chunk 0)), map(chunk 1)) …), in this order always.
template <typename T, typename Map, typename Combine>
T parallel_reduce(int64_t begin, int64_t end, int64_t grain, T identity, Map&& map, Combine&& combine) {
  if (begin >= end) return identity;
  struct Slot {
    T value;
  };  // a struct, so that T = bool gets addressable elements
  std::vector<Slot> partials(static_cast<size_t>((end - begin + grain - 1) / grain), Slot{identity});
  parallel_for(begin, end, grain, [&](int64_t low, int64_t high) {
    partials[static_cast<size_t>((low - begin) / grain)].value = map(low, high);
  });
  T total = std::move(identity);
  for (Slot& partial : partials) total = combine(std::move(total), std::move(partial.value));
  return total;
}

}  // namespace espalier
