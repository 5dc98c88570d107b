// GCC 12's own header trips them.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include "espalier/engine/attention/block_kernels.h"
#include "espalier/engine/attention/row_gather.h"

namespace espalier {
namespace {

constexpr int64_t kLanes = 16;

// 16 rows of 16 units: x[i] holds row i before, column i afterwards.
inline __attribute__((always_inline)) void transpose(__m512i (&x)[kLanes]) {
  __m512i y[kLanes];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  // x[4 a + b]: in its 128-bit lane l the column 4 l + b of rows 4 a … 4 a + 3.
#pragma GCC unroll 4
  for (int b = 0; b < 4; ++b) {
    const __m512i low = _mm512_shuffle_i32x4(x[b], x[4 + b], 0x44), high = _mm512_shuffle_i32x4(x[b], x[4 + b], 0xee);
    const __m512i low2 = _mm512_shuffle_i32x4(x[8 + b], x[12 + b], 0x44), high2 = _mm512_shuffle_i32x4(x[8 + b], x[12 + b], 0xee);
    y[b] = _mm512_shuffle_i32x4(low, low2, 0x88), y[4 + b] = _mm512_shuffle_i32x4(low, low2, 0xdd);
    y[8 + b] = _mm512_shuffle_i32x4(high, high2, 0x88), y[12 + b] = _mm512_shuffle_i32x4(high, high2, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) x[i] = y[i];
}

void gather_keys(const RowGather& from, std::byte* keys) {
  const int64_t units = from.width / from.group;
  for (int64_t first = 0; first < from.count; first += kLanes)
    for (int64_t u = 0; u < units; u += kLanes) {
      const int64_t here = units - u < kLanes ? units - u : kLanes;
      const auto mask = static_cast<__mmask16>((1u << here) - 1);
      __m512i x[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        const int64_t j = first + r;
        x[r] = j < from.count ? _mm512_maskz_loadu_epi32(mask, from.rows[j] + u * 4) : _mm512_setzero_si512();
        if (j < from.next_count) _mm_prefetch(reinterpret_cast<const char*>(from.next[j]) + u * 4, _MM_HINT_T1);
      }
      transpose(x);
#pragma GCC unroll 16
      for (int c = 0; c < kLanes; ++c)
        if (c < here) _mm512_storeu_si512(keys + ((u + c) * kScoreStride + first) * 4, x[c]);
    }
}

// n tokens of a group, whose elements become one unit for each channel; n < group where tokens end.
template <int group>
void interleave(const std::byte* const* rows, int n, size_t offset, int64_t width, std::byte* target) {
  for (int64_t c = 0; c < width; c += kLanes) {
    __m512i unit = _mm512_setzero_si512();
    for (int i = 0; i < n; ++i) {
      const std::byte* at = rows[i] + offset + c * (4 / group);
      if constexpr (group == 1) unit = _mm512_loadu_si512(at);
      if constexpr (group == 2) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
        unit = _mm512_or_si512(unit, _mm512_sll_epi32(wide, _mm_cvtsi32_si128(16 * i)));
      }
      if constexpr (group == 4) {
        const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
        unit = _mm512_or_si512(unit, _mm512_sll_epi32(wide, _mm_cvtsi32_si128(8 * i)));
      }
    }
    _mm512_storeu_si512(target + c * 4, unit);
  }
}

template <int group>
void gather_values(const RowGather& from, std::byte* values) {
  const int64_t bytes = from.width * (4 / group);
  for (int64_t j = 0; j < from.count; j += group) {
    const int n = static_cast<int>(from.count - j < group ? from.count - j : group);
    for (int64_t i = j; i < j + group && i < from.next_count; ++i)
      for (int64_t b = 0; b < bytes; b += 64) _mm_prefetch(reinterpret_cast<const char*>(from.next[i]) + from.values + b, _MM_HINT_T1);
    interleave<group>(from.rows + j, n, from.values, from.width, values + j / group * from.width * 4);
  }
}

}  // namespace

void gather_rows_avx512(const RowGather& from, std::byte* keys, std::byte* values) {
  gather_keys(from, keys);
  if (values == nullptr) return;
  if (from.group == 1) gather_values<1>(from, values);
  if (from.group == 2) gather_values<2>(from, values);
  if (from.group == 4) gather_values<4>(from, values);
}

}  // namespace espalier
