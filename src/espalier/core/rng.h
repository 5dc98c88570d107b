// Random numbers that are the same on every platform: no std distribution, no libm. A stream has a name, so that adding
// a consumer somewhere never shifts the numbers of another:
//   Rng rng(seed, "calibration/wikitext");
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace espalier {

// xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), its state filled by
// splitmix64 from the seed and the stream's name.
class Rng {
 public:
  using State = std::array<uint64_t, 4>;  // all there is: saving and restoring it resumes the stream exactly

  Rng(uint64_t seed, std::string_view stream);
  explicit Rng(const State& state) : state_(state) {}

  uint64_t next();
  double uniform();  // [0, 1), 53 random bits
  double uniform(double low, double high);
  double normal();                                    // mean 0, variance 1 (Marsaglia's polar method)
  uint64_t below(uint64_t n);                         // 0 … n-1, unbiased; n > 0
  std::vector<int64_t> sample(int64_t n, int64_t k);  // k different numbers of 0 … n-1, in random order

  template <typename T>
  void shuffle(std::span<T> items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }
  template <typename T>
  void shuffle(std::vector<T>& items) {
    shuffle(std::span<T>(items));
  }

  const State& state() const { return state_; }

 private:
  State state_;
};

// Natural logarithm from +, -, *, / alone, to about 1 ulp; x positive and normal. libm's differs between versions.
double portable_log(double x);

}  // namespace espalier
