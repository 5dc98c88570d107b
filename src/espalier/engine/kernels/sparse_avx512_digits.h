// int8 bitmaps and N:M by integer dot products, for the level that has them (sparse_avx512bf16.cpp, which includes this).
//
// Of each 64 columns x becomes integers of 21 bits by their largest magnitude, q = 2^14 a + 2^7 b + c with digits of one byte,
// so that three products of bytes give what products of floats would, up to 2^-21 of that largest. The products want unsigned
// weights: w + 128, and -128 times the sum of the q, known beforehand, puts that right.
#pragma once

#include <immintrin.h>

#include "espalier/engine/kernels/sparse_avx512_lanes.h"
#include "espalier/engine/kernels/sparse_loops.h"

namespace espalier::sparse {
namespace {

// x of 64 columns.
struct alignas(64) Digits {
  int8_t high[64], middle[64], low[64];
  int32_t shift[16];  // -128 · the sum of four q
  float scale[16];    // the first alone counts
};

__m512i load_digits(const void* from) { return _mm512_load_si512(from); }

void split_digits(const float* x, Digits& to) {
  __m512 largest = _mm512_setzero_ps(), poison = largest;
  for (int i = 0; i < 4; ++i) {
    const __m512 v = _mm512_loadu_ps(x + 16 * i);
    largest = _mm512_max_ps(largest, _mm512_abs_ps(v));
    poison = _mm512_fmadd_ps(v, _mm512_setzero_ps(), poison);  // NaN if x is not finite
  }
  constexpr float kOne = 1048576.0f, kNothing = 1e-30f;
  const float most = _mm512_reduce_max_ps(largest);
  const __m512 factor = _mm512_set1_ps(most > kNothing ? kOne / most : 0.0f);
  to.scale[0] = (most > kNothing ? most / kOne : 0.0f) + _mm512_reduce_add_ps(poison);
  const __m512i half_high = _mm512_set1_epi32(1 << 13), half_low = _mm512_set1_epi32(1 << 6);
  for (int i = 0; i < 4; ++i) {
    const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16 * i), factor));
    const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(q, half_high), 14);
    const __m512i rest = _mm512_sub_epi32(q, _mm512_slli_epi32(high, 14));
    const __m512i middle = _mm512_srai_epi32(_mm512_add_epi32(rest, half_low), 7);
    const __m512i low = _mm512_sub_epi32(rest, _mm512_slli_epi32(middle, 7));
    _mm_store_si128(reinterpret_cast<__m128i*>(to.high + 16 * i), _mm512_cvtepi32_epi8(high));
    _mm_store_si128(reinterpret_cast<__m128i*>(to.middle + 16 * i), _mm512_cvtepi32_epi8(middle));
    _mm_store_si128(reinterpret_cast<__m128i*>(to.low + 16 * i), _mm512_cvtepi32_epi8(low));
  }
}

// The four products of bytes in each lane, summed: of `weights` (unsigned) and q.
__m512i digit_products(__m512i weights, const Digits& x) {
  __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights, load_digits(x.high));
  sum = _mm512_dpbusd_epi32(_mm512_slli_epi32(sum, 7), weights, load_digits(x.middle));
  return _mm512_dpbusd_epi32(_mm512_slli_epi32(sum, 7), weights, load_digits(x.low));
}

void to_digits(const float* x, int64_t columns, Digits* to) {
  for (int64_t c = 0; c < columns; c += 64, ++to) {
    split_digits(x + c, *to);
    const __m512i sums = digit_products(_mm512_set1_epi8(1), *to);
    _mm512_store_si512(to->shift, _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sums, 7)));
  }
}

// What a group of columns' integers are worth; of rows with one scale that comes last.
template <Code kCode>
__m512 group_scale(const View& view, const float* scales, int64_t column) {
  if constexpr (kCode != Code::kI8Groups) return _mm512_set1_ps(1.0f);
  const int64_t first = column >> view.group_shift, second = (column + 32) >> view.group_shift;
  const __m512 scale = _mm512_set1_ps(scales[first]);
  if (second == first || second >= view.scale_stride) return scale;
  return _mm512_mask_mov_ps(scale, 0xff00, _mm512_set1_ps(scales[second]));
}

template <Kind kKind, Code kCode, int kVectors>
void multiply_digits(const View& view, int64_t row, const Digits* x, int64_t x_stride, float* y, int64_t y_stride) {
  const uint8_t* bits = view.bits + row * view.bit_stride;
  const auto* values = static_cast<const int8_t*>(view.values) + (kKind == Kind::kBitmap ? view.offsets[row] : row * view.row_values);
  const float* scales = view.scales + row * view.scale_stride;
  __m512 sums[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = _mm512_setzero_ps();
  for (int64_t column = 0; column < view.columns; column += 64, ++x) {
    const uint64_t mask = Lanes512::mask_at(bits + column / 8);
    __m512i loaded = _mm512_loadu_si512(values);
    asm("" : "+v"(loaded));  // as Load<Code::kF32>
    __builtin_prefetch(values + 1024);
    const __m512i weights = _mm512_xor_si512(_mm512_maskz_expand_epi8(mask, loaded), _mm512_set1_epi8(static_cast<char>(0x80)));
    values += kKind == Kind::kRegular ? view.eight_values * 8 : _mm_popcnt_u64(mask);
    const __m512 scale = group_scale<kCode>(view, scales, column);
    for (int v = 0; v < kVectors; ++v) {
      const Digits& of = x[v * x_stride];
      const __m512i sum = _mm512_add_epi32(digit_products(weights, of), load_digits(of.shift));
      sums[v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(scale, _mm512_set1_ps(of.scale[0])), sums[v]);
    }
  }
  const float last = kCode == Code::kI8 ? scales[0] : 1.0f;
  for (int v = 0; v < kVectors; ++v) y[v * y_stride + row] = _mm512_reduce_add_ps(sums[v]) * last;
}

template <Kind kKind, Code kCode>
void multiply_digit_rows(const View& view, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride,
                         int64_t begin, int64_t end) {
  const int64_t words = (view.columns + 63) / 64;
  auto* digits = reinterpret_cast<Digits*>(view.scratch);
  for (int64_t v = 0; v < vectors; ++v) to_digits(x + v * x_stride, view.columns, digits + v * words);
  for (int64_t row = begin; row < end; ++row) {
    int64_t v = 0;
    for (; v + 4 <= vectors; v += 4)
      multiply_digits<kKind, kCode, 4>(view, row, digits + v * words, words, y + v * y_stride, y_stride);
    for (; v < vectors; ++v) multiply_digits<kKind, kCode, 1>(view, row, digits + v * words, words, y + v * y_stride, y_stride);
  }
}

}  // namespace
}  // namespace espalier::sparse
