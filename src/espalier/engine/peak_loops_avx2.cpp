#include <immintrin.h>

#include "espalier/engine/peak_loops.h"

namespace espalier {

double peak_loop_avx2(int64_t rounds, float* sink) {
  __m256 sums[12];
  for (int j = 0; j < 12; ++j) sums[j] = _mm256_set1_ps(static_cast<float>(j));
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.5f);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sums[j] = _mm256_fmadd_ps(sums[j], a, b);
  float parts[8];
  for (int j = 1; j < 12; ++j) sums[0] = _mm256_add_ps(sums[0], sums[j]);
  _mm256_storeu_ps(parts, sums[0]);
  for (float part : parts) *sink += part;
  return static_cast<double>(rounds * 12 * 8 * 2);
}

}  // namespace espalier
