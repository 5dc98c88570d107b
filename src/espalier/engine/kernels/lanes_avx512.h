// Sixteen floats at once, under the names that the kernels' shared bodies use. For *_avx512*.cpp alone; everything has
// internal linkage, so no other file can end up with this code.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace espalier {
namespace {

struct Lanes {
  using Vec = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kRegisters = 32;

  static __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec set1(float v) { return _mm512_set1_ps(v); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static Vec load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static void store(float* p, Vec v, int64_t n) { _mm512_mask_storeu_ps(p, first(n), v); }
  // The first n lanes of v, the rest of other.
  static Vec keep(Vec v, int64_t n, Vec other) { return _mm512_mask_mov_ps(other, first(n), v); }

  static Vec from_bf16(__m256i bits) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)); }
  static Vec load_bf16(const uint16_t* p) { return from_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static Vec load_bf16(const uint16_t* p, int64_t n) { return from_bf16(_mm256_maskz_loadu_epi16(first(n), p)); }
  // Of 32 columns the even ones and the odd ones.
  static constexpr bool kPairs = true;
  static void split_bf16(__m512i pairs, Vec& even, Vec& odd) {
    even = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    odd = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static void load_bf16_pairs(const uint16_t* p, Vec& even, Vec& odd) { split_bf16(_mm512_loadu_si512(p), even, odd); }
  static void load_bf16_pairs(const uint16_t* p, Vec& even, Vec& odd, int64_t n) {
    split_bf16(_mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << n) - 1), p), even, odd);
  }
  static void arrange_pairs(const float* x, int64_t n, float* to) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (int64_t i = 0; i < n; i += 32) {
      const Vec low = load(x + i), high = load(x + i + 16);
      store(to + i, _mm512_permutex2var_ps(low, even, high));
      store(to + i + 16, _mm512_permutex2var_ps(low, odd, high));
    }
  }
  static Vec load_fp16(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static Vec load_fp16(const uint16_t* p, int64_t n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p)); }
  static Vec load_int8(const int8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }
  static Vec load_int8(const int8_t* p, int64_t n) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first(n), p))); }

  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }    // ab + c
  static Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }  // c - ab
  // The second where one is no number.
  static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  static Vec round(Vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // a · 2^n for a whole n in ±300
  static Vec scale(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }
  static Vec absolute(Vec a) { return _mm512_abs_ps(a); }
  // negative where a < 0 (sign set), else positive
  static Vec choose_by_sign(Vec a, Vec negative, Vec positive) {
    return _mm512_mask_mov_ps(positive, _mm512_movepi32_mask(_mm512_castps_si512(a)), negative);
  }
  // Rows become columns: 4 × 4 of single numbers, then of quarters.
  static void transpose(Vec (&v)[16]) {
    Vec t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 4) {
      const Vec a = _mm512_unpacklo_ps(v[i], v[i + 1]), b = _mm512_unpackhi_ps(v[i], v[i + 1]);
      const Vec c = _mm512_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
      t[i] = _mm512_shuffle_ps(a, c, 0x44), t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
      t[i + 2] = _mm512_shuffle_ps(b, d, 0x44), t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 4; ++i) {
      const Vec a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
      const Vec c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
      v[i] = _mm512_shuffle_f32x4(a, c, 0x88), v[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
      v[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88), v[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
  }
  static float sum(Vec a) { return _mm512_reduce_add_ps(a); }
  static float most(Vec a) { return _mm512_reduce_max_ps(a); }
};

}  // namespace
}  // namespace espalier
