#include <cstring>

#include "espalier/core/error.h"
#include "espalier/engine/kernels/sparse_rows.h"
#include "espalier/engine/weight_matrix.h"

namespace espalier {
namespace {

void expand_int8(const WeightMatrix& matrix, int64_t row, float* target) {
  const auto scales_per_row = matrix.scales.dim(1);
  const int8_t* values = matrix.values.as<int8_t>().data() + row * matrix.columns;
  const float* scales = matrix.scales.as<float>().data() + row * scales_per_row;
  const int64_t group = matrix.form.group == 0 ? matrix.columns : matrix.form.group;
  for (int64_t i = 0; i < scales_per_row; ++i) {
    const int64_t last = std::min(matrix.columns, (i + 1) * group);
    for (int64_t c = i * group; c < last; ++c) target[c] = static_cast<float>(values[c]) * scales[i];
  }
}

}  // namespace

void expand_rows(const WeightMatrix& matrix, int64_t begin, int64_t end, float* target, int64_t stride) {
  if (matrix.form.layout != Layout::kDense) return expand_sparse_rows(matrix, begin, end, target, stride);
  const auto columns = static_cast<size_t>(matrix.columns);
  const size_t row_bytes = columns * size_of(matrix.values.dtype());
  for (int64_t row = begin; row < end; ++row) {
    float* to = target + (row - begin) * stride;
    if (matrix.form.precision == Precision::kI8) {
      expand_int8(matrix, row, to);
    } else {
      convert_to_float(matrix.values.dtype(), matrix.values.bytes() + static_cast<size_t>(row) * row_bytes, to, columns);
    }
  }
}

}  // namespace espalier
