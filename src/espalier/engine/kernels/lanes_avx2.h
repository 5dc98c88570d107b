// Eight floats at once, as lanes_avx512.h. For *_avx2.cpp alone.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace espalier {
namespace {

struct Lanes {
  using Vec = __m256;
  static constexpr int kWidth = 8;
  static constexpr bool kPairs = false;
  static constexpr int kRegisters = 16;

  static __m256i first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec set1(float v) { return _mm256_set1_ps(v); }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static Vec load(const float* p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  static void store(float* p, Vec v, int64_t n) { _mm256_maskstore_ps(p, first(n), v); }
  static Vec keep(Vec v, int64_t n, Vec other) { return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(first(n))); }

  static Vec load_bf16(const uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
  }
  static Vec load_fp16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static Vec load_int8(const int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  // There are no masked loads of small elements, and memory behind the last one may not be read.
  template <typename T>
  struct Padded {
    alignas(16) T values[8] = {};
    Padded(const T* p, int64_t n) {
      for (int64_t i = 0; i < n; ++i) values[i] = p[i];
    }
  };
  static Vec load_bf16(const uint16_t* p, int64_t n) { return load_bf16(Padded<uint16_t>(p, n).values); }
  static Vec load_fp16(const uint16_t* p, int64_t n) { return load_fp16(Padded<uint16_t>(p, n).values); }
  static Vec load_int8(const int8_t* p, int64_t n) { return load_int8(Padded<int8_t>(p, n).values); }

  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
  static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  static Vec round(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // In two steps, so that results below 2^-126 are reached.
  static Vec scale(Vec a, Vec n) {
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return _mm256_mul_ps(_mm256_mul_ps(a, power(half)), power(_mm256_sub_epi32(whole, half)));
  }
  static Vec power(__m256i n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)); }
  static Vec absolute(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static Vec choose_by_sign(Vec a, Vec negative, Vec positive) { return _mm256_blendv_ps(positive, negative, a); }
  static void transpose(Vec (&v)[8]) {
    Vec t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 4) {
      const Vec a = _mm256_unpacklo_ps(v[i], v[i + 1]), b = _mm256_unpackhi_ps(v[i], v[i + 1]);
      const Vec c = _mm256_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
      t[i] = _mm256_shuffle_ps(a, c, 0x44), t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
      t[i + 2] = _mm256_shuffle_ps(b, d, 0x44), t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 4; ++i)
      v[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20), v[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
  }
  static float sum(Vec a) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
  }
  static float most(Vec a) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
  }
};

}  // namespace
}  // namespace espalier
