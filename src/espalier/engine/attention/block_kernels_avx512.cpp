// GCC 12's own header trips it.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include "espalier/engine/attention/block_kernel_loops.h"

namespace espalier {
namespace {

// Register tiles: 8 rows × 2 vectors of scores, 4 rows × 4 vectors of values; 16 sums hide the latency of 4 cycles.
struct Vector512 {
  using T = __m512;
  static constexpr int kLanes = 16, kScoreRows = 8, kRows = 4, kChannels = 4;
  static T load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, T x) { _mm512_storeu_ps(p, x); }
  static T set1(float x) { return _mm512_set1_ps(x); }
  static T zero() { return _mm512_setzero_ps(); }
  static T fma(T a, T b, T c) { return _mm512_fmadd_ps(a, b, c); }
  static T mul(T a, T b) { return _mm512_mul_ps(a, b); }
  static T add(T a, T b) { return _mm512_add_ps(a, b); }
  static T sub(T a, T b) { return _mm512_sub_ps(a, b); }
  static T max(T a, T b) { return _mm512_max_ps(a, b); }
  static void sum4(const T* x, float* sums) {
    const auto half = [](T y) { return _mm256_add_ps(_mm512_castps512_ps256(y), _mm512_extractf32x8_ps(y, 1)); };
    const __m256 y = _mm256_hadd_ps(_mm256_hadd_ps(half(x[0]), half(x[1])), _mm256_hadd_ps(half(x[2]), half(x[3])));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
  }
  static float largest(T x) { return _mm512_reduce_max_ps(x); }
  static bool any_above(uint64_t bits, T x, T y) { return _mm512_mask_cmp_ps_mask(static_cast<__mmask16>(bits), x, y, _CMP_GT_OQ) != 0; }
  static T select(uint64_t bits, T yes, T no) { return _mm512_mask_blend_ps(static_cast<__mmask16>(bits), no, yes); }

  // 2^n · p(f), n + f = x · log2 e, |f| ≤ 1/2; p is the Taylor polynomial of degree 7 of e^(f ln 2), relative error 3e-8.
  static T exp(T x) { return exp_without<0>(x); }
  // The same without the highest terms.
  template <int kTerms>
  static T exp_without(T x) {
    const T y = _mm512_mul_ps(_mm512_max_ps(x, _mm512_set1_ps(-104.0f)), _mm512_set1_ps(1.44269504088896341f));
    const T n = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    T r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), _mm512_max_ps(x, _mm512_set1_ps(-104.0f)));
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    T p = _mm512_set1_ps(kTerms == 0 ? 1.0f / 5040 : kExpTerms[kTerms - 1]);
    for (size_t i = kTerms; i < sizeof kExpTerms / sizeof *kExpTerms; ++i) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExpTerms[i]));
    return _mm512_scalef_ps(p, n);
  }

  static void expand2(const std::byte* p, T (&x)[2]) {
    const __m512i pairs = _mm512_loadu_si512(p);
    x[0] = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    x[1] = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static void expand4(const std::byte* p, T (&x)[4]) {
    const __m512i quads = _mm512_loadu_si512(p);
    x[0] = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(quads, 24), 24));
    x[1] = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(quads, 16), 24));
    x[2] = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(quads, 8), 24));
    x[3] = _mm512_cvtepi32_ps(_mm512_srai_epi32(quads, 24));
  }
};

// Where probabilities are rounded to 16 bits anyway: degree 5, relative error 3e-6.
struct RoughVector512 : Vector512 {
  static T exp(T x) { return exp_without<2>(x); }
};

// Short pages are a single vector of 16 slots.
template <typename C>
void scores(const KvBlock& b, const float* q, int64_t rows, float* s) {
  if (b.slots >= 2 * Vector512::kLanes) return scores_of<Vector512, C>(b, q, rows, s);
  for (int64_t r = 0; r < rows; ++r, q += b.width, s += kScoreStride) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < b.width; c += C::kGroup) {
      __m512 x[C::kGroup];
      expand<Vector512, C>(b.keys + c / C::kGroup * b.slots * 4, x);
      for (int g = 0; g < C::kGroup; ++g) sum = _mm512_fmadd_ps(_mm512_set1_ps(q[c + g]), x[g], sum);
    }
    if constexpr (C::kScaled) sum = _mm512_mul_ps(sum, _mm512_loadu_ps(b.key_scales));
    _mm512_storeu_ps(s, sum);
  }
}

template <typename C>
constexpr BlockKernels kTable = {nullptr, scores<C>, softmax_of<Vector512>, accumulate_of<Vector512, C>, column_sums_of<Vector512>};

}  // namespace

extern const SoftmaxOfBlock kRoughSoftmax = softmax_of<RoughVector512>;
extern const BlockKernels kBlockKernelsAvx512[3] = {kTable<F32Codec>, kTable<BF16Codec>, kTable<I8Codec>};

}  // namespace espalier
