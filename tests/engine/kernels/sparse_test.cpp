#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "espalier/core/error.h"
#include "espalier/engine/kernels.h"
#include "espalier/engine/kernels/sparse_rows.h"

namespace espalier {
namespace {


std::vector<WeightForm> sparse_forms() {
  std::vector<WeightForm> forms;
  const std::vector<std::pair<Precision, int64_t>> precisions = {{Precision::kF32, 0},  {Precision::kBF16, 0}, {Precision::kF16, 0},
                                                                 {Precision::kI8, 0},   {Precision::kI8, 32},  {Precision::kI8, 64},
                                                                 {Precision::kI8, 128}};
  for (const auto& [precision, group] : precisions) {
    forms.push_back({precision, Layout::kBitmap, group});
    forms.push_back({precision, Layout::kBlock16, group});
    for (const auto& [n, m] : {std::pair<int64_t, int64_t>{2, 4}, {4, 8}, {1, 2}, {3, 8}, {8, 16}, {2, 5}, {9, 32}})
      forms.push_back({precision, Layout::kNOfM, group, n, m});
  }
  return forms;
}

// Row 0 is empty and row 1 as full as the form allows; the others have about `density` of what it allows.
Tensor random_weight(const WeightForm& form, int64_t rows, int64_t columns, double density, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<double> uniform;
  const int64_t run = form.layout == Layout::kNOfM ? form.m : form.layout == Layout::kBlock16 ? 16 : 1;
  std::vector<float> values(static_cast<size_t>(rows * columns));
  for (int64_t row = 1; row < rows; ++row)
    for (int64_t begin = 0; begin < columns; begin += run) {
      const int64_t size = std::min(run, columns - begin);
      std::vector<int64_t> order(static_cast<size_t>(size));
      for (int64_t i = 0; i < size; ++i) order[static_cast<size_t>(i)] = begin + i;
      if (form.layout == Layout::kNOfM) {
        std::shuffle(order.begin(), order.end(), random);
        order.resize(static_cast<size_t>(form.n));
      }
      const bool whole = row == 1 || uniform(random) < density;
      for (const int64_t column : order)
        if (form.layout == Layout::kNOfM ? row == 1 || uniform(random) < density : whole)
          values[static_cast<size_t>(row * columns + column)] = normal(random);
    }
  return Tensor::from_floats({rows, columns}, values);
}

// Scales behind which lies what is no number: whoever reads on multiplies with it.
WeightMatrix fenced(WeightMatrix matrix) {
  if (matrix.form.precision != Precision::kI8) return matrix;
  const auto scales = matrix.scales.as<float>();
  const auto memory = std::make_shared<std::vector<float>>(scales.begin(), scales.end());
  memory->insert(memory->end(), 16, NAN);
  matrix.scales = Tensor(DType::kF32, matrix.scales.shape(), memory, reinterpret_cast<const std::byte*>(memory->data()));
  return matrix;
}

int64_t padded(int64_t columns) { return (columns + 63) / 64 * 64; }

std::vector<float> random_vectors(int64_t vectors, int64_t columns, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(vectors * padded(columns)));
  for (int64_t v = 0; v < vectors; ++v)
    for (int64_t c = 0; c < columns; ++c) x[static_cast<size_t>(v * padded(columns) + c)] = normal(random);
  return x;
}

// Columns that the form takes: with and without tails of words, of vectors and of groups of scales.
std::vector<int64_t> columns_of(const WeightForm& form) {
  if (form.layout != Layout::kNOfM) return {1, 15, 16, 63, 64, 65, 200, 336, 1100};
  return {form.m, 3 * form.m, 64 * form.m, 65 * form.m};
}

void expect_near_double(const WeightMatrix& matrix, MatVec multiply, int64_t vectors, std::mt19937& random, const std::string& what) {
  const int64_t rows = matrix.rows, columns = matrix.columns, stride = padded(columns);
  const Tensor dense = to_dense(matrix);
  const auto w = dense.as<float>();
  const std::vector<float> x = random_vectors(vectors, columns, random);
  std::vector<float> y(static_cast<size_t>(vectors * rows), NAN);
  multiply(matrix, x.data(), stride, vectors, y.data(), rows, 0, rows);
  for (int64_t v = 0; v < vectors; ++v)
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0, size = 0, weights = 0, most = 0;
      for (int64_t c = 0; c < columns; ++c) {
        const double term = double{w[static_cast<size_t>(r * columns + c)]} * double{x[static_cast<size_t>(v * stride + c)]};
        sum += term;
        size += std::fabs(term);
        weights += std::fabs(double{w[static_cast<size_t>(r * columns + c)]});
        most = std::max(most, std::fabs(double{x[static_cast<size_t>(v * stride + c)]}));
      }
      // With int8, x may be rounded to 2^-23 of the largest.
      const double rounding = matrix.form.precision == Precision::kI8 ? std::ldexp(weights * most, -23) : 0;
      ASSERT_NEAR(y[static_cast<size_t>(v * rows + r)], sum, 1e-6 * size + rounding + 1e-30) << what << " row " << r << " vector " << v;
    }
}

TEST(SparseKernels, MultiplyLikeDoubleAtEveryLevelFormAndDensity) {
  std::mt19937 random(7);
  for (const WeightForm& form : sparse_forms())
    for (const int64_t columns : columns_of(form))
      for (const double density : {0.0, 0.05, 0.5, 0.95, 1.0}) {
        const Tensor weight = random_weight(form, 5, columns, density, random);
        const WeightMatrix matrix = fenced(make_matrix(weight, form, "w"));
        for (const SimdLevel level : machine_simd_levels())
          expect_near_double(matrix, sparse_mat_vec(form, level), 2, random,
                             fmt::format("{} at {}, {} columns, density {}", to_string(form), name_of(level), columns, density));
        if (HasFatalFailure()) return;
      }
}

TEST(SparseKernels, RowsHaveOneOrderWhateverRunsBesideThem) {
  std::mt19937 random(11);
  constexpr int64_t kRows = 9;
  for (const WeightForm& form : sparse_forms()) {
    const int64_t columns = columns_of(form).back();
    const WeightMatrix matrix = make_matrix(random_weight(form, kRows, columns, 0.4, random), form, "w");
    const int64_t stride = padded(columns);
    for (const SimdLevel level : machine_simd_levels()) {
      const MatVec multiply = sparse_mat_vec(form, level);
      for (int64_t vectors = 1; vectors <= 17; ++vectors) {
        const std::vector<float> x = random_vectors(vectors, columns, random);
        std::vector<float> together(static_cast<size_t>(vectors * kRows), NAN), single = together;
        multiply(matrix, x.data(), stride, vectors, together.data(), kRows, 0, kRows);
        for (int64_t v = 0; v < vectors; ++v)
          for (int64_t r = 0; r < kRows; r += 2)
            multiply(matrix, x.data() + v * stride, stride, 1, single.data() + v * kRows, kRows, r, std::min(kRows, r + 2));
        ASSERT_EQ(together, single) << to_string(form) << " at " << name_of(level) << ", " << vectors << " vectors";
      }
    }
  }
}

TEST(SparseKernels, WriteOnlyTheRowsAskedFor) {
  std::mt19937 random(3);
  const WeightForm form{Precision::kF32, Layout::kBitmap};
  const WeightMatrix matrix = make_matrix(random_weight(form, 6, 70, 0.5, random), form, "w");
  const std::vector<float> x = random_vectors(1, 70, random);
  for (const SimdLevel level : machine_simd_levels()) {
    std::vector<float> y(6, -1.0f);
    sparse_mat_vec(form, level)(matrix, x.data(), 128, 1, y.data(), 6, 2, 4);
    for (const size_t r : {0u, 1u, 4u, 5u}) EXPECT_EQ(y[r], -1.0f);
    for (const size_t r : {2u, 3u}) EXPECT_NE(y[r], -1.0f);
  }
}

TEST(SparseKernels, ExpandTheSameNumbersAtEveryLevel) {
  std::mt19937 random(5);
  for (const WeightForm& form : sparse_forms())
    for (const int64_t columns : columns_of(form)) {
      const WeightMatrix matrix = make_matrix(random_weight(form, 4, columns, 0.5, random), form, "w");
      const int64_t stride = columns + 3;
      std::vector<float> first;
      for (const SimdLevel level : machine_simd_levels()) {
        std::vector<float> rows(static_cast<size_t>(3 * stride), -7.0f);
        expand_sparse_rows(matrix, 1, 4, rows.data(), stride, level);
        for (int64_t r = 0; r < 3; ++r)
          for (int64_t c = columns; c < stride; ++c) ASSERT_EQ(rows[static_cast<size_t>(r * stride + c)], -7.0f);
        if (first.empty()) first = rows;
        ASSERT_EQ(first, rows) << to_string(form) << " at " << name_of(level);
      }
    }
}

}  // namespace
}  // namespace espalier
