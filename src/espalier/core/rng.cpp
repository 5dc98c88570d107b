#include "espalier/core/rng.h"

#include <bit>
#include <cmath>
#include <unordered_map>

#include "espalier/core/error.h"

namespace espalier {
namespace {

uint64_t splitmix64(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// FNV-1a: a stable hash of the stream's name (std::hash differs between libraries).
uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

}  // namespace

Rng::Rng(uint64_t seed, std::string_view stream) {
  // Both words pass through splitmix64 before they meet, so that nearby seeds and names give unrelated streams.
  uint64_t name = hash_of(stream);
  uint64_t mixed = splitmix64(seed) ^ std::rotl(splitmix64(name), 32);
  for (uint64_t& word : state_) word = splitmix64(mixed);
}

uint64_t Rng::next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

double Rng::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

double Rng::uniform(double low, double high) { return low + (high - low) * uniform(); }

double Rng::normal() {
  // The pair's second value is dropped: the state stays four words, and a resumed stream needs nothing else.
  for (;;) {
    const double u = 2 * uniform() - 1, v = 2 * uniform() - 1;
    const double s = u * u + v * v;
    if (s < 1 && s > 1e-300) return u * std::sqrt(-2 * portable_log(s) / s);
  }
}

uint64_t Rng::below(uint64_t n) {
  ESP_ASSERT(n > 0);
  // Lemire, "Fast random integer generation in an interval", 2019.
  __extension__ using Wide = unsigned __int128;
  for (;;) {
    const Wide product = static_cast<Wide>(next()) * n;
    if (static_cast<uint64_t>(product) >= (0 - n) % n) return static_cast<uint64_t>(product >> 64);
  }
}

std::vector<int64_t> Rng::sample(int64_t n, int64_t k) {
  ESP_ASSERT(k >= 0 && k <= n, "sample {} of {}", k, n);
  // Fisher-Yates on 0 … n-1, storing only the places that a swap has touched.
  std::unordered_map<int64_t, int64_t> moved;
  const auto at = [&](int64_t place) {
    auto found = moved.find(place);
    return found == moved.end() ? place : found->second;
  };
  std::vector<int64_t> chosen(static_cast<size_t>(k));
  for (int64_t i = 0; i < k; ++i) {
    const int64_t j = i + static_cast<int64_t>(below(static_cast<uint64_t>(n - i)));
    chosen[static_cast<size_t>(i)] = at(j);
    moved[j] = at(i);
  }
  return chosen;
}

double portable_log(double x) {
  constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;  // ln 2 in two parts
  int exponent;
  double m = std::frexp(x, &exponent);  // exact
  if (m < 0x1.6a09e667f3bcdp-1) {       // sqrt(1/2): keeps |s| below 0.172
    m *= 2;
    --exponent;
  }
  // ln m = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + …); twelve terms reach 2^-62.
  const double s = (m - 1) / (m + 1), square = s * s;
  double series = 0;
  for (int power = 23; power >= 3; power -= 2) series = (series + 1.0 / power) * square;
  return exponent * kLn2High + (exponent * kLn2Low + 2 * s * series + 2 * s);
}

}  // namespace espalier
