// bf16 with dot products of pairs: queries and probabilities are rounded to bf16 as well, which doubles what a vector
// multiplies and unpacks nothing. Sums stay fp32.
// GCC 12's own header trips them.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include "espalier/engine/attention/block_kernels.h"

namespace espalier {
namespace {

constexpr int kLanes = 16;

// n floats, a multiple of 16, as bf16.
void round_row(const float* x, int64_t n, uint16_t* target) {
  for (int64_t i = 0; i < n; i += kLanes)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + i), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i))));
}

__m512bh pair(const uint16_t* p) {
  int32_t two;
  __builtin_memcpy(&two, p, 4);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(two));
}

// Sums of n rows × m vectors over `pairs` pairs, whose bytes lie `stride` apart; rows of x are x_stride numbers apart.
template <int n, int m>
inline __attribute__((always_inline)) void dot_tile(const std::byte* bytes, int64_t stride, int64_t pairs, const uint16_t* x, int64_t x_stride,
                                                    ptrdiff_t ahead, __m512 (&sum)[n][m]) {
  for (int64_t i = 0; i < pairs; ++i, bytes += stride) {
    __m512bh y[m];
#pragma GCC unroll 4
    for (int v = 0; v < m; ++v) {
      y[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(bytes + v * 64));
      if (ahead != 0) _mm_prefetch(reinterpret_cast<const char*>(bytes) + ahead + v * 64, _MM_HINT_T1);
    }
#pragma GCC unroll 4
    for (int r = 0; r < n; ++r) {
      const __m512bh w = pair(x + r * x_stride + 2 * i);
#pragma GCC unroll 4
      for (int v = 0; v < m; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], y[v], w);
    }
  }
}

template <int n, int m>
void score_tile(const KvBlock& b, const uint16_t* q, int64_t q_stride, int64_t slot, float* s, ptrdiff_t ahead) {
  __m512 sum[n][m];
#pragma GCC unroll 4
  for (int r = 0; r < n; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < m; ++v) sum[r][v] = _mm512_setzero_ps();
  dot_tile<n, m>(b.keys + slot * 4, b.slots * 4, b.width / 2, q, q_stride, ahead, sum);
#pragma GCC unroll 4
  for (int r = 0; r < n; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < m; ++v) _mm512_storeu_ps(s + r * kScoreStride + slot + v * kLanes, sum[r][v]);
}

template <int n, int m>
void value_tile(const KvBlock& b, const uint16_t* p, int64_t channel, float* out, ptrdiff_t ahead) {
  __m512 sum[n][m];
#pragma GCC unroll 4
  for (int r = 0; r < n; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < m; ++v) sum[r][v] = _mm512_loadu_ps(out + r * b.width + channel + v * kLanes);
  dot_tile<n, m>(b.values + channel * 4, b.width * 4, (b.used + 1) / 2, p, kScoreStride, ahead, sum);
#pragma GCC unroll 4
  for (int r = 0; r < n; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < m; ++v) _mm512_storeu_ps(out + r * b.width + channel + v * kLanes, sum[r][v]);
}

// fn<n>(first row), 4 rows at a time.
template <typename Fn>
void by_fours(int64_t rows, const Fn& fn) {
  for (int64_t r = 0; r < rows; r += 4) {
    if (rows - r >= 4) fn.template operator()<4>(r);
    if (rows - r == 3) fn.template operator()<3>(r);
    if (rows - r == 2) fn.template operator()<2>(r);
    if (rows - r == 1) fn.template operator()<1>(r);
  }
}

void prepare(const float* q, int64_t rows, int64_t width, std::byte* prepared) {
  for (int64_t r = 0; r < rows; ++r) round_row(q + r * width, width, reinterpret_cast<uint16_t*>(prepared + r * prepared_bytes(width)));
}

void scores(const KvBlock& b, const float* q, int64_t rows, float* s) {
  const auto* prepared = reinterpret_cast<const uint16_t*>(q);
  const int64_t stride = prepared_bytes(b.width) / 2;
  by_fours(rows, [&]<int n>(int64_t first) {
    const ptrdiff_t ahead = first == 0 ? b.ahead : 0;
    int64_t slot = 0;
    for (; slot + 4 * kLanes <= b.slots && slot < b.used; slot += 4 * kLanes)
      score_tile<n, 4>(b, prepared + first * stride, stride, slot, s + first * kScoreStride, ahead);
    for (; slot + 2 * kLanes <= b.slots && slot < b.used; slot += 2 * kLanes)
      score_tile<n, 2>(b, prepared + first * stride, stride, slot, s + first * kScoreStride, ahead);
    for (; slot < b.used; slot += kLanes) score_tile<n, 1>(b, prepared + first * stride, stride, slot, s + first * kScoreStride, ahead);
  });
}

void accumulate(const KvBlock& b, float* s, int64_t rows, float* out) {
  const int64_t slots = (b.used + kLanes - 1) / kLanes * kLanes;
  by_fours(rows, [&]<int n>(int64_t first) {
    alignas(64) uint16_t p[n * kScoreStride];
    for (int r = 0; r < n; ++r) round_row(s + (first + r) * kScoreStride, slots, p + r * kScoreStride);
    const ptrdiff_t ahead = first == 0 ? b.ahead : 0;
    int64_t channel = 0;
    for (; channel + 4 * kLanes <= b.width; channel += 4 * kLanes) value_tile<n, 4>(b, p, channel, out + first * b.width, ahead);
    for (; channel < b.width; channel += kLanes) value_tile<n, 1>(b, p, channel, out + first * b.width, ahead);
  });
}

}  // namespace

extern const RoundedKernels kBF16Pairs = {prepare, scores, accumulate};

}  // namespace espalier
