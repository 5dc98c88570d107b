#include <immintrin.h>

#include "espalier/engine/peak_loops.h"

namespace espalier {

double peak_loop_avx512(int64_t rounds, float* sink) {
  __m512 sums[12];
  for (int j = 0; j < 12; ++j) sums[j] = _mm512_set1_ps(static_cast<float>(j));
  const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.5f);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sums[j] = _mm512_fmadd_ps(sums[j], a, b);
  float parts[16];
  for (int j = 1; j < 12; ++j) sums[0] = _mm512_add_ps(sums[0], sums[j]);
  _mm512_storeu_ps(parts, sums[0]);
  for (float part : parts) *sink += part;
  return static_cast<double>(rounds * 12 * 16 * 2);
}

}  // namespace espalier
