// The dense matrix-vector kernels of every level of this machine against sums in double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/engine/kernels.h"
#include "tests/engine/kernels/matrices.h"

namespace espalier {
namespace {

using testing_matrices::DenseForm;
using testing_matrices::kDenseForms;
using testing_matrices::numbers;
using testing_matrices::Product;
using testing_matrices::random_matrix;

class DenseMatVec : public testing::TestWithParam<SimdLevel> {};

MatVec kernel(const WeightMatrix& matrix, SimdLevel level) { return dense_mat_vec(matrix.form.precision, matrix.form.group, level); }

TEST_P(DenseMatVec, MultipliesEveryWidth) {
  for (const DenseForm& form : kDenseForms)
    for (int64_t columns = 1; columns <= 130; ++columns) {
      const WeightMatrix matrix = random_matrix(form, 11, columns, static_cast<uint64_t>(columns));
      Product product(matrix, 1 + columns % 3, 7);
      product.run(kernel(matrix, GetParam()));
      EXPECT_LT(product.error(), 2e-6) << to_string(matrix.form) << " " << columns << " columns";
    }
}

TEST_P(DenseMatVec, MultipliesEveryNumberOfVectorsAndRows) {
  for (const DenseForm& form : kDenseForms)
    for (int64_t vectors = 1; vectors <= 17; ++vectors) {
      const WeightMatrix matrix = random_matrix(form, 13 + vectors, 200, 3);
      Product product(matrix, vectors, 5);
      product.run(kernel(matrix, GetParam()));
      EXPECT_LT(product.error(), 2e-6) << to_string(matrix.form) << " " << vectors << " vectors";
    }
}

TEST_P(DenseMatVec, GivesTheSameBitsInOneBatchOrSingly) {
  for (const DenseForm& form : kDenseForms) {
    const WeightMatrix matrix = random_matrix(form, 37, 151, 9);
    Product batch(matrix, 17, 11);
    batch.run(kernel(matrix, GetParam()));
    for (int64_t count = 1; count <= 8; ++count)
      for (int64_t v = 0; v + count <= 17; v += count) {
        Product part(matrix, 17, 11);
        kernel(matrix, GetParam())(matrix, part.x.data() + v * part.x_stride, part.x_stride, count, part.y.data(), part.y_stride, 0, matrix.rows);
        for (int64_t i = 0; i < count; ++i)
          EXPECT_EQ(0, std::memcmp(part.row(i), batch.row(v + i), static_cast<size_t>(matrix.rows) * sizeof(float))) << to_string(matrix.form);
      }
  }
}

TEST_P(DenseMatVec, GivesTheSameBitsHoweverRowsAreCutAndWritesNoOthers) {
  for (const DenseForm& form : kDenseForms) {
    const WeightMatrix matrix = random_matrix(form, 37, 151, 9);
    Product whole(matrix, 3, 11);
    whole.run(kernel(matrix, GetParam()));
    for (int64_t begin = 0; begin < 37; begin += 5) {
      const int64_t end = std::min<int64_t>(37, begin + 5);
      Product part(matrix, 3, 11);
      kernel(matrix, GetParam())(matrix, part.x.data(), part.x_stride, 3, part.y.data(), part.y_stride, begin, end);
      for (int64_t v = 0; v < 3; ++v)
        for (int64_t r = 0; r < part.y_stride; ++r) {
          const bool mine = r >= begin && r < end;
          EXPECT_EQ(part.row(v)[r], mine ? whole.row(v)[r] : Product::kUntouched);
        }
    }
  }
}

TEST_P(DenseMatVec, ReadsWeightsAtOddAddresses) {
  for (const DenseForm& form : kDenseForms) {
    const WeightMatrix aligned = random_matrix(form, 9, 77, 4);
    Product expected(aligned, 2, 6);
    expected.run(kernel(aligned, GetParam()));
    const size_t step = size_of(aligned.values.dtype());
    auto memory = std::make_shared<std::vector<std::byte>>(aligned.values.byte_size() + 64);
    for (size_t shift = step; shift < 64; shift += step) {
      std::memcpy(memory->data() + shift, aligned.values.bytes(), aligned.values.byte_size());
      WeightMatrix moved = aligned;
      moved.values = Tensor(aligned.values.dtype(), aligned.values.shape(), memory, memory->data() + shift);
      Product product(moved, 2, 6);
      product.run(kernel(moved, GetParam()));
      EXPECT_EQ(product.y, expected.y) << to_string(aligned.form) << " shifted by " << shift;
    }
  }
}

TEST_P(DenseMatVec, KeepsInfinitiesAndTinyNumbers) {
  const float infinity = std::numeric_limits<float>::infinity(), tiny = std::numeric_limits<float>::denorm_min() * 1024;
  for (int64_t columns : {5, 16, 70}) {
    std::vector<float> weights(static_cast<size_t>(3 * columns), 0.0f);
    weights[0] = infinity;
    weights[static_cast<size_t>(columns)] = -infinity;
    weights[static_cast<size_t>(2 * columns + columns - 1)] = tiny;
    const WeightMatrix matrix = dense_matrix(Tensor::from_floats({3, columns}, weights));
    Product product(matrix, 1, 2);
    for (int64_t c = 0; c < columns; ++c) product.x[static_cast<size_t>(c)] = 1;
    product.run(kernel(matrix, GetParam()));
    EXPECT_EQ(product.row(0)[0], infinity);
    EXPECT_EQ(product.row(0)[1], -infinity);
    EXPECT_EQ(product.row(0)[2], tiny);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, DenseMatVec, testing::ValuesIn(machine_simd_levels()),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

}  // namespace
}  // namespace espalier
