#include <immintrin.h>

#include "espalier/engine/attention/block_kernels.h"
#include "espalier/engine/attention/row_gather.h"

namespace espalier {
namespace {

constexpr int64_t kLanes = 8;

__m256i load(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

// 8 rows of 8 units: x[i] holds row i before, column i afterwards.
inline __attribute__((always_inline)) void transpose(__m256i (&x)[kLanes]) {
  __m256i y[kLanes];
  for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_epi32(x[i], x[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    x[i] = _mm256_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm256_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm256_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm256_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    y[i] = _mm256_permute2x128_si256(x[i], x[i + 4], 0x20);
    y[i + 4] = _mm256_permute2x128_si256(x[i], x[i + 4], 0x31);
  }
  for (int i = 0; i < 8; ++i) x[i] = y[i];
}

void gather_keys(const RowGather& from, std::byte* keys) {
  const int64_t units = from.width / from.group;
  for (int64_t first = 0; first < from.count; first += kLanes)
    for (int64_t u = 0; u < units; u += kLanes) {
      // A row of int8 may have 4 units; the value behind it is read along and not stored.
      const int64_t here = units - u < kLanes ? units - u : kLanes;
      __m256i x[kLanes];
      for (int r = 0; r < kLanes; ++r) {
        const int64_t j = first + r;
        x[r] = j < from.count ? load(from.rows[j] + u * 4) : _mm256_setzero_si256();
        if (u % 16 == 0 && j < from.next_count) _mm_prefetch(reinterpret_cast<const char*>(from.next[j]) + u * 4, _MM_HINT_T1);
      }
      transpose(x);
      for (int c = 0; c < here; ++c) _mm256_storeu_si256(reinterpret_cast<__m256i*>(keys + ((u + c) * kScoreStride + first) * 4), x[c]);
    }
}

template <int group>
void interleave(const std::byte* const* rows, int n, size_t offset, int64_t width, std::byte* target) {
  for (int64_t c = 0; c < width; c += kLanes) {
    __m256i unit = _mm256_setzero_si256();
    for (int i = 0; i < n; ++i) {
      const std::byte* at = rows[i] + offset + c * (4 / group);
      if constexpr (group == 1) unit = load(at);
      if constexpr (group == 2) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
        unit = _mm256_or_si256(unit, _mm256_sll_epi32(wide, _mm_cvtsi32_si128(16 * i)));
      }
      if constexpr (group == 4) {
        const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
        unit = _mm256_or_si256(unit, _mm256_sll_epi32(wide, _mm_cvtsi32_si128(8 * i)));
      }
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + c * 4), unit);
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

void gather_rows_avx2(const RowGather& from, std::byte* keys, std::byte* values) {
  gather_keys(from, keys);
  if (values == nullptr) return;
  if (from.group == 1) gather_values<1>(from, values);
  if (from.group == 2) gather_values<2>(from, values);
  if (from.group == 4) gather_values<4>(from, values);
}

}  // namespace espalier
