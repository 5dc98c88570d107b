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
constexpr int kStreamPasses = 3, kPeakPasses = 7;
constexpr int64_t kPeakRounds = 400'000;

template <typename Pass>
double seconds_of(const Pass& pass) {
  const auto start = Clock::now();
  pass();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

using Lanes = uint64_t __attribute__((vector_size(16), aligned(8)));

// A core reads faster from several places than from one; four were best of 1 to 8.
uint64_t read_streams(const uint64_t* words, int64_t count) {
  constexpr int64_t kStreams = 4, kLine = 8;
  const int64_t length = count / kStreams / kLine * kLine;
  Lanes sums[kStreams] = {};
  for (int64_t i = 0; i < length; i += kLine)
#pragma GCC unroll 4
    for (int64_t s = 0; s < kStreams; ++s)
#pragma GCC unroll 4
      for (int64_t j = 0; j < kLine; j += 2) sums[s] ^= *reinterpret_cast<const Lanes*>(words + s * length + i + j);
  const Lanes sum = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
  return sum[0] ^ sum[1];
}

PeakLoop peak_loop() {
  switch (simd_level()) {
    case SimdLevel::kReference: return peak_loop_reference;
    case SimdLevel::kAvx2: return peak_loop_avx2;
    default: return peak_loop_avx512;
  }
}

}  // namespace

MemoryStream::MemoryStream() : words_(static_cast<size_t>(kStreamBytes / 8), 1) {}

double MemoryStream::pass(Team& team) {
  sums_.resize(static_cast<size_t>(team.size()) * 8);
  const std::function<void(int)> read = [&](int rank) {
    const Slice slice = slice_of(static_cast<int64_t>(words_.size()), rank, team.size(), 512);
    sums_[static_cast<size_t>(rank) * 8] += read_streams(words_.data() + slice.begin, slice.end - slice.begin);
  };
  return seconds_of([&] { team.run(read); });
}

double MemoryStream::bandwidth(Team& team) {
  double best = pass(team);
  for (int i = 1; i < kStreamPasses; ++i) best = std::min(best, pass(team));
  return bytes() / best;
}

double peak_flops(Team& team) {
  const PeakLoop loop = peak_loop();
  std::vector<float> sums(static_cast<size_t>(team.size()) * 16);
  std::vector<double> flops(static_cast<size_t>(team.size()) * 8);
  const std::function<void(int)> pass = [&](int rank) {
    flops[static_cast<size_t>(rank) * 8] = loop(kPeakRounds, &sums[static_cast<size_t>(rank) * 16]);
  };
  double seconds = seconds_of([&] { team.run(pass); });
  for (int i = 1; i < kPeakPasses; ++i) seconds = std::min(seconds, seconds_of([&] { team.run(pass); }));
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
