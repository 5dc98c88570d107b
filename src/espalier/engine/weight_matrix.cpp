#include "espalier/engine/weight_matrix.h"

#include "espalier/core/error.h"

namespace espalier {
int64_t WeightMatrix::stored() const {
  switch (form.layout) {
    case Layout::kDense: return rows * columns;
    case Layout::kNOfM: return rows * (columns / form.m * form.n);
    case Layout::kBitmap: return offsets.as<int64_t>().back();
    case Layout::kBlock16: return offsets.as<int64_t>().back() * kBlockColumns;
  }
  ESP_ASSERT(false, "layout {}", static_cast<int>(form.layout));
  return 0;
}

uint64_t WeightMatrix::byte_size() const {
  const auto value_bytes = static_cast<uint64_t>(stored()) * size_of(values.dtype());
  return value_bytes + index.byte_size() + offsets.byte_size() + scales.byte_size();
}

WeightMatrix dense_matrix(const Tensor& weight) {
  ESP_ASSERT(weight.shape().size() == 2, "a matrix of shape {}", to_string(weight.shape()));
  WeightMatrix matrix;
  matrix.rows = weight.dim(0);
  matrix.columns = weight.dim(1);
  const auto precision = precision_of(weight.dtype());
  ESP_ASSERT(precision, "a dense matrix of {}", name_of(weight.dtype()));
  matrix.form.precision = *precision;
  matrix.values = weight;
  return matrix;
}

Tensor to_dense(const WeightMatrix& matrix) {
  Tensor dense(DType::kF32, {matrix.rows, matrix.columns});
  expand_rows(matrix, 0, matrix.rows, dense.mutable_as<float>().data(), matrix.columns);
  return dense;
}

}  // namespace espalier
