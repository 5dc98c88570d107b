#include <immintrin.h>

#include "espalier/engine/attention/block_kernel_loops.h"

namespace espalier {
namespace {

// Register tiles of 8 sums: 4 rows × 2 vectors, with 16 registers in all.
struct Vector256 {
  using T = __m256;
  static constexpr int kLanes = 8, kScoreRows = 4, kRows = 4, kChannels = 2;
  static T load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, T x) { _mm256_storeu_ps(p, x); }
  static T set1(float x) { return _mm256_set1_ps(x); }
  static T zero() { return _mm256_setzero_ps(); }
  static T fma(T a, T b, T c) { return _mm256_fmadd_ps(a, b, c); }
  static T mul(T a, T b) { return _mm256_mul_ps(a, b); }
  static T add(T a, T b) { return _mm256_add_ps(a, b); }
  static T sub(T a, T b) { return _mm256_sub_ps(a, b); }
  static T max(T a, T b) { return _mm256_max_ps(a, b); }
  static void sum4(const T* x, float* sums) {
    const T y = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
  }
  static float largest(T x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_shuffle_ps(y, y, 1)));
  }
  static bool any_above(uint64_t bits, T x, T y) {
    return (static_cast<uint64_t>(_mm256_movemask_ps(_mm256_cmp_ps(x, y, _CMP_GT_OQ))) & bits & 0xff) != 0;
  }
  static T select(uint64_t bits, T yes, T no) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i all = _mm256_set1_epi32(static_cast<int>(bits & 0xff));
    return _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, lane), lane)));
  }

  // As in the AVX-512 file; arguments below -87 give about 1e-38 instead of subnormal numbers.
  static T exp(T x) {
    x = _mm256_max_ps(x, _mm256_set1_ps(-87.0f));
    const T n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    T r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    T p = _mm256_set1_ps(1.0f / 5040);
    for (const float c : kExpTerms) p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
  }

  static __m256i lanes(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static void expand2(const std::byte* p, T (&x)[2]) {
    const __m256i pairs = lanes(p);
    x[0] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    x[1] = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static void expand4(const std::byte* p, T (&x)[4]) {
    const __m256i quads = lanes(p);
    x[0] = _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(quads, 24), 24));
    x[1] = _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(quads, 16), 24));
    x[2] = _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(quads, 8), 24));
    x[3] = _mm256_cvtepi32_ps(_mm256_srai_epi32(quads, 24));
  }
};

template <typename C>
constexpr BlockKernels kTable = {nullptr, scores_of<Vector256, C>, softmax_of<Vector256>, accumulate_of<Vector256, C>, column_sums_of<Vector256>};

}  // namespace

extern const BlockKernels kBlockKernelsAvx2[3] = {kTable<F32Codec>, kTable<BF16Codec>, kTable<I8Codec>};

}  // namespace espalier
