// Random matrices in every dense form and products with them, for the kernels' tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/engine/weight_matrix.h"

namespace espalier::testing_matrices {

struct DenseForm {
  Precision precision;
  int64_t group;
};
constexpr DenseForm kDenseForms[] = {{Precision::kF32, 0}, {Precision::kBF16, 0}, {Precision::kF16, 0},  {Precision::kI8, 0},
                                     {Precision::kI8, 32}, {Precision::kI8, 64},  {Precision::kI8, 128}};

inline std::vector<float> numbers(int64_t count, uint64_t seed) {
  Rng rng(seed, "matrices");
  std::vector<float> result(static_cast<size_t>(count));
  for (float& v : result) v = static_cast<float>(rng.normal());
  return result;
}

// Codes and scales are drawn, so that this needs no quantisation.
inline WeightMatrix random_matrix(const DenseForm& form, int64_t rows, int64_t columns, uint64_t seed) {
  WeightMatrix matrix;
  matrix.rows = rows, matrix.columns = columns;
  matrix.form = {form.precision, Layout::kDense, form.group};
  const std::vector<float> values = numbers(rows * columns, seed);
  const Tensor plain = Tensor::from_floats({rows, columns}, values);
  switch (form.precision) {
    case Precision::kF32: matrix.values = plain; break;
    case Precision::kBF16: matrix.values = plain.to(DType::kBF16); break;
    case Precision::kF16: matrix.values = plain.to(DType::kF16); break;
    case Precision::kI8: {
      matrix.values = Tensor(DType::kI8, {rows, columns});
      const auto codes = matrix.values.mutable_as<int8_t>();
      for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<int8_t>(std::clamp(std::round(values[i] * 50), -127.0f, 127.0f));
      const int64_t groups = form.group == 0 ? 1 : (columns + form.group - 1) / form.group;
      std::vector<float> scales = numbers(rows * groups, seed + 1);
      for (float& s : scales) s = (std::abs(s) + 0.1f) / 127;
      matrix.scales = Tensor::from_floats({rows, groups}, scales);
    }
  }
  return matrix;
}

// The weight that kernels multiply with, found without any of them.
inline double weight_at(const WeightMatrix& m, int64_t r, int64_t c) {
  const auto at = static_cast<size_t>(r * m.columns + c);
  switch (m.form.precision) {
    case Precision::kF32: return m.values.as<float>()[at];
    case Precision::kBF16: return bf16_to_float(m.values.as<uint16_t>()[at]);
    case Precision::kF16: return f16_to_float(m.values.as<uint16_t>()[at]);
    case Precision::kI8: break;
  }
  const int64_t groups = m.form.group == 0 ? 1 : (m.columns + m.form.group - 1) / m.form.group, g = m.form.group == 0 ? 0 : c / m.form.group;
  return static_cast<double>(m.values.as<int8_t>()[at]) * static_cast<double>(m.scales.as<float>()[static_cast<size_t>(r * groups + g)]);
}

// x as the decoder lays it out (zeros up to the next 64 columns), y with marks between rows.
struct Product {
  static constexpr float kUntouched = -12345;

  Product(const WeightMatrix& matrix_, int64_t vectors_, uint64_t seed)
      : matrix(matrix_), vectors(vectors_), x_stride((matrix.columns + 63) / 64 * 64 + 64), y_stride(matrix.rows + 5),
        x(static_cast<size_t>(vectors * x_stride)), y(static_cast<size_t>(vectors * y_stride), kUntouched) {
    const std::vector<float> values = numbers(vectors * matrix.columns, seed);
    for (int64_t v = 0; v < vectors; ++v) std::copy_n(values.data() + v * matrix.columns, matrix.columns, x.data() + v * x_stride);
  }

  void run(MatVec kernel) { kernel(matrix, x.data(), x_stride, vectors, y.data(), y_stride, 0, matrix.rows); }
  const float* row(int64_t v) const { return y.data() + v * y_stride; }

  // The largest |y - exact| / Σ |w x| .
  double error() const {
    double most = 0;
    for (int64_t v = 0; v < vectors; ++v)
      for (int64_t r = 0; r < matrix.rows; ++r) {
        double sum = 0, size = 0;
        for (int64_t c = 0; c < matrix.columns; ++c) {
          const double term = weight_at(matrix, r, c) * static_cast<double>(x[static_cast<size_t>(v * x_stride + c)]);
          sum += term, size += std::abs(term);
        }
        const double error = std::abs(static_cast<double>(row(v)[r]) - sum);
        most = std::isfinite(error) ? std::max(most, size == 0 ? error : error / size) : INFINITY;
      }
    return most;
  }

  const WeightMatrix& matrix;
  int64_t vectors, x_stride, y_stride;
  std::vector<float> x, y;
};

}  // namespace espalier::testing_matrices
