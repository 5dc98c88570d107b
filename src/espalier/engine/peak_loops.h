// Loops of nothing but fused multiply-adds, one a SIMD level.
#pragma once

#include <cstdint>

namespace espalier {

// Returns the FLOPs done; the result goes to sink, so that it cannot be left out.
using PeakLoop = double (*)(int64_t rounds, float* sink);
double peak_loop_reference(int64_t rounds, float* sink);
double peak_loop_avx2(int64_t rounds, float* sink);
double peak_loop_avx512(int64_t rounds, float* sink);

}  // namespace espalier
