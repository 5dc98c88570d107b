// AVX2 has no expansion: a table gives, for each byte of a bitmap, which stored value goes to which of eight lanes.
#include <immintrin.h>

#include "espalier/engine/kernels/sparse_loops.h"

namespace espalier::sparse {
namespace {

constexpr uint8_t kNone = 0x80;  // its sign bit blends a zero in; a permutation reads the low three bits alone

struct Permutations {
  uint8_t lanes[256][8];
  constexpr Permutations() : lanes() {
    for (int mask = 0; mask < 256; ++mask)
      for (int lane = 0, next = 0; lane < 8; ++lane) lanes[mask][lane] = (mask >> lane & 1) ? static_cast<uint8_t>(next++) : kNone;
  }
};
alignas(64) constexpr Permutations kPermutations;

template <Code kCode>
struct Load;

template <>
struct Load<Code::kF32> {
  using Element = float;
  static __m256 at(const float* from) { return _mm256_loadu_ps(from); }
};

template <>
struct Load<Code::kBF16> {
  using Element = uint16_t;
  static __m256 at(const uint16_t* from) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
};

template <>
struct Load<Code::kF16> {
  using Element = uint16_t;
  static __m256 at(const uint16_t* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
};

template <>
struct Load<Code::kI8> {
  using Element = int8_t;
  static __m256 at(const int8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
  }
};

template <>
struct Load<Code::kI8Groups> : Load<Code::kI8> {};

__m256 expand8(uint32_t mask, __m256 values) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kPermutations.lanes[mask & 0xff]));
  const __m256i lanes = _mm256_cvtepi8_epi32(bytes);
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(values, lanes), _mm256_setzero_ps(), _mm256_castsi256_ps(lanes));
}

struct Lanes {
  using Vector = __m256;
  static constexpr int kWidth = 8, kTogether = 2, kOfBlocks = 2;  // vectors with two rows, with a row of blocks
  static constexpr int kRowsAlone = 2;                             // rows with one vector
  template <Code>
  static constexpr bool kArranged = false;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Vector v) { _mm256_storeu_ps(to, v); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector times(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector spread(float value) { return _mm256_set1_ps(value); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static float sum(Vector v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
  }
  static uint32_t mask_at(const uint8_t* bits) {
    uint32_t mask;
    __builtin_memcpy(&mask, bits, sizeof mask);
    return mask;
  }
  static int64_t count(uint32_t mask) { return _mm_popcnt_u32(mask); }

  template <Code kCode>
  struct Values {
    using Element = typename Load<kCode>::Element;
    static void expand(uint32_t mask, const Element* from, Vector (&w)[4]) {
      w[0] = expand8(mask, Load<kCode>::at(from));
      w[1] = expand8(mask >> 8, Load<kCode>::at(from + count(mask & 0xff)));
      w[2] = expand8(mask >> 16, Load<kCode>::at(from + count(mask & 0xffff)));
      w[3] = expand8(mask >> 24, Load<kCode>::at(from + count(mask & 0xffffff)));
    }
    static void block(const Element* from, Vector (&w)[2]) {
      w[0] = Load<kCode>::at(from);
      w[1] = Load<kCode>::at(from + 8);
    }
  };
};
using PlainLanes = Lanes;

}  // namespace

const Level kAvx2 = ESP_SPARSE_LEVEL;

}  // namespace espalier::sparse
