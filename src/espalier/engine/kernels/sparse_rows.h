// Rows of a sparse matrix as floats, by the kernels of a SIMD level.
#pragma once

#include "espalier/engine/simd.h"
#include "espalier/engine/weight_matrix.h"

namespace espalier {

// As expand_rows of weight_matrix.h, for every layout but kDense.
void expand_sparse_rows(const WeightMatrix& matrix, int64_t begin, int64_t end, float* target, int64_t stride,
                        SimdLevel level = simd_level());

}  // namespace espalier
