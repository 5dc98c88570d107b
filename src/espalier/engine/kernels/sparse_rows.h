// Rows of a sparse matrix as floats, by the kernels of a SIMD level.
#pragma once

#include "espalier/engine/simd.h"
#include "espalier/engine/weight_matrix.h"

namespace espalier {

// As expand_rows of weight_matrix.h, for every layout but kDense.
void expand_sparse_rows(const WeightMatrix& matrix, int64_t begin, int64_t end, float* target, int64_t stride,
                        SimdLevel level = simd_level());

// Rows of a sparse bf16 or int8 matrix as they are stored, without the scales, one behind the other. For level avx512bf16;
// kCodeSlack values behind the last may be written.
constexpr int64_t kCodeSlack = 64;
void expand_sparse_codes(const WeightMatrix& matrix, int64_t begin, int64_t end, void* target);

}  // namespace espalier
