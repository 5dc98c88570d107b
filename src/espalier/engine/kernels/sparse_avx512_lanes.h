// Lanes of 16 floats for sparse_loops.h, for both AVX-512 levels: each includes its own copy, hence the unnamed namespace.
#pragma once

#include <immintrin.h>

#include "espalier/engine/kernels/sparse_view.h"

namespace espalier::sparse {
namespace {

// The 16 floats of 16 stored values.
template <Code kCode>
struct Load;

template <>
struct Load<Code::kF32> {
  using Element = float;
  static __m512 at(const float* from) {
    __m512 values = _mm512_loadu_ps(from);
    // Without this GCC folds the load into the expansion, whose memory form takes many times as long on Zen.
    asm("" : "+v"(values));
    return values;
  }
};

template <>
struct Load<Code::kBF16> {
  using Element = uint16_t;
  static __m512 widen(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static __m512 at(const uint16_t* from) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))); }
};

template <>
struct Load<Code::kF16> {
  using Element = uint16_t;
  static __m512 widen(__m256i halves) { return _mm512_cvtph_ps(halves); }
  static __m512 at(const uint16_t* from) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))); }
};

template <>
struct Load<Code::kI8> {
  using Element = int8_t;
  static __m512 widen(__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)); }
  static __m512 at(const int8_t* from) { return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))); }
};

template <>
struct Load<Code::kI8Groups> : Load<Code::kI8> {};

struct Lanes512 {
  using Vector = __m512;
  static constexpr int kWidth = 16, kTogether = 8, kOfBlocks = 4;  // vectors with two rows, with a row of blocks
  static constexpr int kRowsAlone = 4;                              // rows with one vector
  template <Code>
  static constexpr bool kArranged = false;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Vector v) { _mm512_storeu_ps(to, v); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector times(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector spread(float value) { return _mm512_set1_ps(value); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static float sum(Vector v) { return _mm512_reduce_add_ps(v); }
  static uint64_t mask_at(const uint8_t* bits) {
    uint64_t mask;
    __builtin_memcpy(&mask, bits, sizeof mask);
    return mask;
  }
  static int64_t count(uint64_t mask) { return _mm_popcnt_u64(mask); }

  // Offsets by counting prefixes of one word: no chain from one vector to the next.
  template <Code kCode>
  struct Values {
    using Element = typename Load<kCode>::Element;
    static void expand(uint64_t mask, const Element* from, Vector (&w)[4]) {
      const int64_t second = count(mask & 0xffff), third = count(mask & 0xffffffff), fourth = count(mask & 0xffffffffffff);
      w[0] = _mm512_maskz_expand_ps(static_cast<__mmask16>(mask), Load<kCode>::at(from));
      w[1] = _mm512_maskz_expand_ps(static_cast<__mmask16>(mask >> 16), Load<kCode>::at(from + second));
      w[2] = _mm512_maskz_expand_ps(static_cast<__mmask16>(mask >> 32), Load<kCode>::at(from + third));
      w[3] = _mm512_maskz_expand_ps(static_cast<__mmask16>(mask >> 48), Load<kCode>::at(from + fourth));
    }
    static void block(const Element* from, Vector (&w)[1]) { w[0] = Load<kCode>::at(from); }
  };
};

}  // namespace
}  // namespace espalier::sparse
