#include "espalier/engine/machine_limits.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "espalier/engine/peak_loops.h"
#include "espalier/engine/simd.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kStreamBytes = int64_t{192} << 20;
constexpr int kPasses = 7;
constexpr int64_t kPeakRounds = 400'000;

template <typename Pass>
double best_seconds(const Pass& pass) {
  double best = 1e30;
  for (int i = 0; i < kPasses; ++i) {
    const auto start = Clock::now();
    pass();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

// Four sums, so that the loads do not wait for one chain of additions.
uint64_t read_words(const uint64_t* words, int64_t count) {
  uint64_t sums[8] = {};
  for (int64_t i = 0; i + 8 <= count; i += 8)
    for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
  uint64_t sum = 0;
  for (uint64_t s : sums) sum += s;
  return sum;
}

PeakLoop peak_loop() {
  switch (simd_level()) {
    case SimdLevel::kReference: return peak_loop_reference;
    case SimdLevel::kAvx2: return peak_loop_avx2;
    default: return peak_loop_avx512;
  }
}

}  // namespace

double stream_bandwidth(Team& team) {
  std::vector<uint64_t> buffer(static_cast<size_t>(kStreamBytes / 8), 1);
  std::vector<uint64_t> sums(static_cast<size_t>(team.size()) * 8);
  const std::function<void(int)> pass = [&](int rank) {
    const Slice slice = slice_of(static_cast<int64_t>(buffer.size()), rank, team.size(), 512);
    sums[static_cast<size_t>(rank) * 8] += read_words(buffer.data() + slice.begin, slice.end - slice.begin);
  };
  return static_cast<double>(kStreamBytes) / best_seconds([&] { team.run(pass); });
}

double peak_flops(Team& team) {
  const PeakLoop loop = peak_loop();
  std::vector<float> sums(static_cast<size_t>(team.size()) * 16);
  std::vector<double> flops(static_cast<size_t>(team.size()) * 8);
  const std::function<void(int)> pass = [&](int rank) {
    flops[static_cast<size_t>(rank) * 8] = loop(kPeakRounds, &sums[static_cast<size_t>(rank) * 16]);
  };
  const double seconds = best_seconds([&] { team.run(pass); });
  double total = 0;
  for (int rank = 0; rank < team.size(); ++rank) total += flops[static_cast<size_t>(rank) * 8];
  return total / seconds;
}

double peak_loop_reference(int64_t rounds, float* sink) {
  float sums[16];
  for (int j = 0; j < 16; ++j) sums[j] = static_cast<float>(j);
  for (int64_t i = 0; i < rounds; ++i)
    for (float& sum : sums) sum = sum * 0.999f + 0.5f;
  for (float sum : sums) *sink += sum;
  return static_cast<double>(rounds * 16 * 2);
}

}  // namespace espalier
