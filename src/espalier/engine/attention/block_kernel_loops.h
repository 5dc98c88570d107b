// The loops of the block kernels over vectors `V` of one SIMD level. For inclusion by the level files alone; V lives in
// their anonymous namespace, so that every level has its own code.
//
// V: T (vector of V::kLanes floats), kLanes, kScoreRows, kRows and kChannels (tile sizes), load, store, set1, zero, fma,
// mul, add, sub, max, sum4 (of four vectors), largest, exp, select(bits, a, b), any_above(bits, a, b), expand2 and expand4 (of interleaved bf16 pairs, int8 quads).
#pragma once

#include <immintrin.h>

#include "espalier/engine/attention/block_kernels.h"

namespace espalier {
namespace {

template <int n>
struct Count {};

// 1/6! … 1/0!
constexpr float kExpTerms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};

struct F32Codec {
  static constexpr int kGroup = 1;
  static constexpr bool kScaled = false;
};
struct BF16Codec {
  static constexpr int kGroup = 2;
  static constexpr bool kScaled = false;
};
struct I8Codec {
  static constexpr int kGroup = 4;
  static constexpr bool kScaled = true;
};

// The numbers in the 32-bit lanes at p: x[g] holds the g-th of each lane.
template <typename V, typename C>
inline __attribute__((always_inline)) void expand(const std::byte* p, typename V::T (&x)[C::kGroup]) {
  if constexpr (C::kGroup == 1) x[0] = V::load(reinterpret_cast<const float*>(p));
  if constexpr (C::kGroup == 2) V::expand2(p, x);
  if constexpr (C::kGroup == 4) V::expand4(p, x);
}

// fn(Count<n>, first row) for tiles of at most `most` rows, a power of two.
template <int most, typename Fn>
inline __attribute__((always_inline)) void for_tiles(int64_t rows, int64_t first, const Fn& fn) {
  for (; rows - first >= most; first += most) fn(Count<most>{}, first);
  if constexpr (most > 1)
    if (first < rows) for_tiles<most / 2>(rows, first, fn);
}

// 2 vectors of slots × n rows. The sums over channels have one order, whatever the tile.
template <typename V, typename C, int n>
void score_tile(const KvBlock& b, const float* q, float* s, int64_t slot, ptrdiff_t ahead) {
  typename V::T sum[n][2];
#pragma GCC unroll 16
  for (int r = 0; r < n; ++r) sum[r][0] = sum[r][1] = V::zero();
  const std::byte* k = b.keys + slot * 4;
  for (int64_t c = 0; c < b.width; c += C::kGroup, k += b.slots * 4) {
    typename V::T x[2][C::kGroup];
    expand<V, C>(k, x[0]);
    expand<V, C>(k + V::kLanes * 4, x[1]);
    if (ahead != 0)
      for (int i = 0; i < 2 * V::kLanes * 4; i += 64) _mm_prefetch(reinterpret_cast<const char*>(k) + ahead + i, _MM_HINT_T1);
#pragma GCC unroll 4
    for (int g = 0; g < C::kGroup; ++g)
#pragma GCC unroll 16
      for (int r = 0; r < n; ++r) {
        const typename V::T w = V::set1(q[r * b.width + c + g]);
        sum[r][0] = V::fma(w, x[0][g], sum[r][0]);
        sum[r][1] = V::fma(w, x[1][g], sum[r][1]);
      }
  }
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    typename V::T scale = V::zero();
    if constexpr (C::kScaled) scale = V::load(b.key_scales + slot + v * V::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < n; ++r)
      V::store(s + r * kScoreStride + slot + v * V::kLanes, C::kScaled ? V::mul(sum[r][v], scale) : sum[r][v]);
  }
}

// slots is a multiple of two vectors.
template <typename V, typename C>
void scores_of(const KvBlock& b, const float* q, int64_t rows, float* s) {
  for (int64_t slot = 0; slot < b.used; slot += 2 * V::kLanes) {
    for_tiles<V::kScoreRows>(rows, 0, [&]<int n>(Count<n>, int64_t r) {
      score_tile<V, C, n>(b, q + r * b.width, s + r * kScoreStride, slot, r == 0 ? b.ahead : 0);
    });
  }
}

template <typename V>
void softmax_of(float* s, const uint64_t* masks, int64_t rows, int64_t used, int64_t width, float* maximum, float* sum, float* out) {
  using T = typename V::T;
  const T nothing = V::set1(-__builtin_inff());
  T totals[kBlockRows];
  for (int64_t r = 0; r < (rows + 3) / 4 * 4; ++r) totals[r] = V::zero();
  for (int64_t r = 0; r < rows; ++r, s += kScoreStride, out += width) {
    const uint64_t mask = masks[r];
    if (mask == 0) {
      for (int64_t j = 0; j < used; j += V::kLanes) V::store(s + j, V::zero());
      continue;
    }
    // After the first pages a new maximum is rare, and telling that needs no reduction.
    bool rises = false;
    for (int64_t j = 0; j < used; j += V::kLanes) rises |= V::any_above(mask >> j, V::load(s + j), V::set1(maximum[r]));
    if (rises) {
      T largest = nothing;
      for (int64_t j = 0; j < used; j += V::kLanes) largest = V::max(largest, V::select(mask >> j, V::load(s + j), nothing));
      const float here = V::largest(largest);
      const T shrink = V::exp(V::set1(maximum[r] - here));
      for (int64_t c = 0; c < width; c += V::kLanes) V::store(out + c, V::mul(V::load(out + c), shrink));
      float one[V::kLanes];
      V::store(one, shrink);
      sum[r] *= one[0];
      maximum[r] = here;
    }
    const T top = V::set1(maximum[r]);
    T total = V::zero();
    for (int64_t j = 0; j < used; j += V::kLanes) {
      const T p = V::select(mask >> j, V::exp(V::sub(V::load(s + j), top)), V::zero());
      V::store(s + j, p);
      total = V::add(total, p);
    }
    totals[r] = total;
  }
  for (int64_t r = 0; r < rows; r += 4) {
    float four[4];
    V::sum4(totals + r, four);
    for (int64_t i = r; i < rows && i < r + 4; ++i) sum[i] += four[i - r];
  }
}

// m vectors of channels × n rows.
template <typename V, typename C, int n, int m>
void value_tile(const KvBlock& b, const float* p, float* out, int64_t channel, ptrdiff_t ahead) {
  typename V::T sum[n][m];
#pragma GCC unroll 16
  for (int r = 0; r < n; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < m; ++i) sum[r][i] = V::load(out + r * b.width + channel + i * V::kLanes);
  const std::byte* v = b.values + channel * 4;
  for (int64_t j = 0; j < b.used; j += C::kGroup, v += b.width * 4) {
    if (ahead != 0)
      for (int i = 0; i < m * V::kLanes * 4; i += 64) _mm_prefetch(reinterpret_cast<const char*>(v) + ahead + i, _MM_HINT_T1);
#pragma GCC unroll 4
    for (int i = 0; i < m; ++i) {
      typename V::T x[C::kGroup];
      expand<V, C>(v + i * V::kLanes * 4, x);
#pragma GCC unroll 4
      for (int g = 0; g < C::kGroup; ++g)
#pragma GCC unroll 16
        for (int r = 0; r < n; ++r) sum[r][i] = V::fma(V::set1(p[r * kScoreStride + j + g]), x[g], sum[r][i]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < n; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < m; ++i) V::store(out + r * b.width + channel + i * V::kLanes, sum[r][i]);
}

template <typename V, typename C>
void accumulate_of(const KvBlock& b, float* s, int64_t rows, float* out) {
  if constexpr (C::kScaled)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < b.used; j += V::kLanes)
        V::store(s + r * kScoreStride + j, V::mul(V::load(s + r * kScoreStride + j), V::load(b.value_scales + j)));
  const int64_t vectors = b.width / V::kLanes;
  for_tiles<V::kChannels>(vectors, 0, [&]<int m>(Count<m>, int64_t i) {
    for_tiles<V::kRows>(rows, 0, [&]<int n>(Count<n>, int64_t r) {
      value_tile<V, C, n, m>(b, s + r * kScoreStride, out + r * b.width, i * V::kLanes, r == 0 ? b.ahead : 0);
    });
  });
}

template <typename V>
void column_sums_of(const float* s, const uint64_t* masks, const float* log_sum, int64_t rows, int64_t used, float* sums) {
  for (int64_t j = 0; j < used; j += V::kLanes) {
    typename V::T total = V::load(sums + j);
    for (int64_t r = 0; r < rows; ++r) {
      const typename V::T p = V::exp(V::sub(V::load(s + r * kScoreStride + j), V::set1(log_sum[r])));
      total = V::add(total, V::select(masks[r] >> j, p, V::zero()));
    }
    V::store(sums + j, total);
  }
}

}  // namespace
}  // namespace espalier
