// int8 bitmaps and N:M by integer dot products, for the level that has them (sparse_avx512bf16.cpp, which includes this).
//
// Of each span of columns x becomes integers of 24 bits by their largest magnitude, q = 2^16 a + 2^8 b + c with digits of one
// byte, so that three products of bytes give what products of floats would, up to 2^-24 of that largest. A span's sums of a, b and
// c are exact. The products want unsigned weights: w + 128, and -128 times the sums of x, known beforehand, puts that right.
#pragma once

#include <immintrin.h>

#include "espalier/engine/kernels/dot_bytes.h"
#include "espalier/engine/kernels/sparse_avx512_lanes.h"
#include "espalier/engine/kernels/sparse_loops.h"

namespace espalier::sparse {
namespace {

constexpr int kDigits = 3;
constexpr int64_t kWord = 64;      // columns of a register of weights
constexpr int64_t kRowSpan = 512;  // columns of a span where weights have one scale a row: 1024 would save 4 % of the time

// x of a word of columns: c, b, a.
struct alignas(64) Digits {
  int8_t of[kDigits][kWord];
};

// The columns that are summed as integers: they have one scale of x and of the weights, or one in either half of the lanes.
struct alignas(64) Span {
  int32_t low[16], high[16];  // -128 times the sums of c and of 2^8 a + b
  float scale[16];            // the first alone counts
};

// Vectors one behind the other.
struct DigitVectors {
  Digits* digits;
  Span* spans;
  int64_t words, spans_each, span;  // words and spans of a vector; columns of a span

  DigitVectors from(int64_t vector) const {
    return {digits + vector * words, spans + vector * spans_each, words, spans_each, span};
  }
};

__m512i load_line(const void* from) { return _mm512_load_si512(from); }

__m512i join_digits(__m512i high, __m512i low) { return _mm512_add_epi32(_mm512_slli_epi32(high, 8), low); }

void split_span(const float* x, int64_t columns, Digits* digits, Span& span) {
  __m512 largest = _mm512_setzero_ps(), poison = largest;
  for (int64_t c = 0; c < columns; c += 16) {
    const __m512 v = _mm512_loadu_ps(x + c);
    largest = _mm512_max_ps(largest, _mm512_abs_ps(v));
    poison = _mm512_fmadd_ps(v, _mm512_setzero_ps(), poison);  // NaN if x is not finite
  }
  constexpr float kOne = 127 << 16, kNothing = 1e-30f;  // all three digits of up to kOne fit a byte
  const float most = _mm512_reduce_max_ps(largest);
  const __m512 factor = _mm512_set1_ps(most > kNothing ? kOne / most : 0.0f);
  span.scale[0] = (most > kNothing ? most / kOne : 0.0f) + _mm512_reduce_add_ps(poison);
  __m512i sums[kDigits] = {};
  for (int64_t c = 0; c < columns; c += kWord, ++digits) {
    for (int64_t i = 0; i < kWord; i += 16) {
      __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + c + i), factor));
      for (auto& digit : digits->of) {
        _mm_store_si128(reinterpret_cast<__m128i*>(digit + i), _mm512_cvtepi32_epi8(q));
        q = _mm512_srai_epi32(_mm512_add_epi32(q, _mm512_set1_epi32(128)), 8);
      }
    }
    for (int d = 0; d < kDigits; ++d) add_byte_products(sums[d], _mm512_set1_epi8(-128), load_line(digits->of[d]));
  }
  _mm512_store_si512(span.low, _mm512_sub_epi32(_mm512_setzero_si512(), sums[0]));
  _mm512_store_si512(span.high, _mm512_sub_epi32(_mm512_setzero_si512(), join_digits(sums[2], sums[1])));
}

// Into the thread's scratch.
static_assert(sizeof(Digits) + sizeof(Span) <= kScratch * (kWord / 8));
DigitVectors to_digits(const View& view, bool groups, const float* x, int64_t x_stride, int64_t vectors) {
  const int64_t words = (view.columns + kWord - 1) / kWord, group = int64_t{1} << view.group_shift;
  const int64_t span = !groups ? kRowSpan : group < kWord ? kWord : group, spans = (view.columns + span - 1) / span;
  auto* digits = static_cast<Digits*>(view.scratch);
  const DigitVectors to{digits, reinterpret_cast<Span*>(digits + vectors * words), words, spans, span};
  for (int64_t v = 0; v < vectors; ++v) {
    const DigitVectors of = to.from(v);
    for (int64_t s = 0, c = 0; s < spans; ++s, c += span) {
      const int64_t left = words * kWord - c;
      split_span(x + v * x_stride + c, left < span ? left : span, of.digits + c / kWord, of.spans[s]);
    }
  }
  return to;
}

// What the integers of a span are worth; of rows with one scale that comes last.
template <Code kCode>
__m512 span_scale(const View& view, int64_t row, int64_t column) {
  if constexpr (kCode != Code::kI8Groups) return _mm512_set1_ps(1.0f);
  const float* scales = view.scales + row * view.scale_stride;
  const int64_t first = column >> view.group_shift, second = (column + 32) >> view.group_shift;
  const __m512 scale = _mm512_set1_ps(scales[first]);
  if (second == first || second >= view.scale_stride) return scale;
  return _mm512_mask_mov_ps(scale, 0xff00, _mm512_set1_ps(scales[second]));
}

// A row's words, as w + 128.
template <Kind kKind>
struct CodeRow {
  const uint8_t* bits;
  const int8_t* values;

  void begin(const View& view, int64_t row) {
    bits = view.bits + row * view.bit_stride;
    values = static_cast<const int8_t*>(view.values) + (kKind == Kind::kBitmap ? view.offsets[row] : row * view.row_values);
  }

  __m512i next(int64_t word, int64_t step) {
    const uint64_t mask = Lanes512::mask_at(bits + word * 8);
    __m512i loaded = _mm512_loadu_si512(values);
    asm("" : "+v"(loaded));  // as Load<Code::kF32>
    __builtin_prefetch(values + 2048, 0, 2);
    values += kKind == Kind::kRegular ? step : _mm_popcnt_u64(mask);
    return _mm512_xor_si512(_mm512_maskz_expand_epi8(mask, loaded), _mm512_set1_epi8(-128));
  }
};

// Rows far apart, as many streams from memory; each part of x is loaded for all. a, b and c have sums of their own, so that no
// product waits for another and only the end of a span joins them.
template <Kind kKind, Code kCode, int kRows, int kVectors>
void multiply_digits(const View& view, const int64_t (&rows)[kRows], const DigitVectors& x, float* y, int64_t y_stride) {
  CodeRow<kKind> sources[kRows];
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    sources[r].begin(view, rows[r]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_setzero_ps();
  }
  const int64_t step = view.eight_values * 8;
  const Span* span = x.spans;
  for (int64_t begin = 0, word = 0; begin < view.columns; begin += x.span, ++span) {
    __m512i whole[kRows][kVectors][kDigits];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const Span& of = span[v * x.spans_each];
        whole[r][v][0] = load_line(of.low), whole[r][v][1] = load_line(of.high), whole[r][v][2] = _mm512_setzero_si512();
      }
    const int64_t next = (begin + x.span) / kWord, end = next < x.words ? next : x.words;
    for (; word < end; ++word) {
      __m512i weights[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) weights[r] = sources[r].next(word, step);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
#pragma GCC unroll 4
        for (int d = 0; d < kDigits; ++d) {
          const __m512i digits = load_line(x.digits[v * x.words + word].of[d]);
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) add_byte_products(whole[r][v][d], weights[r], digits);
        }
    }
    const __m512 base = _mm512_set1_ps(256.0f);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m512 scale = span_scale<kCode>(view, rows[r], begin);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const __m512i high = join_digits(whole[r][v][2], whole[r][v][1]);
        const __m512 all = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), base, _mm512_cvtepi32_ps(whole[r][v][0]));
        const __m512 worth = _mm512_mul_ps(scale, _mm512_set1_ps(span[v * x.spans_each].scale[0]));
        sums[r][v] = _mm512_fmadd_ps(all, worth, sums[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) y[v * y_stride + rows[r]] = finish<Lanes512, kCode>(sums[r][v], view, rows[r]);
}

// As many sums as the registers hold.
template <Kind kKind, Code kCode>
void multiply_digit_rows(const View& view, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride,
                         int64_t begin, int64_t end) {
  const DigitVectors digits = to_digits(view, kCode == Code::kI8Groups, x, x_stride, vectors);
  const auto multiply = [&]<int kRows, int kVectors>() {
    for_far_rows<kRows>(begin, end, [&](const int64_t (&rows)[kRows]) {
      for_vectors<kVectors>(vectors, 0, [&]<int n>(int64_t v) { multiply_digits<kKind, kCode, kRows, n>(view, rows, digits.from(v), y + v * y_stride, y_stride); });
    });
  };
  if (vectors == 1) multiply.template operator()<4, 1>();
  else multiply.template operator()<2, 4>();
}

}  // namespace
}  // namespace espalier::sparse
