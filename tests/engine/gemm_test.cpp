// Products for many vectors at every level of this machine against sums in double.
#include "espalier/engine/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "tests/engine/kernels/matrices.h"

namespace espalier {
namespace {

using testing_matrices::DenseForm;
using testing_matrices::kDenseForms;
using testing_matrices::numbers;
using testing_matrices::Product;
using testing_matrices::random_matrix;
using testing_matrices::weight_at;

class Gemm : public testing::TestWithParam<SimdLevel> {
 protected:
  // By `ranks` one after the other: none needs another.
  void run(Product& product, int ranks = 1) {
    GemmWorkspace workspace(GetParam());
    workspace.reserve(product.matrix, product.vectors, ranks);
    for (int rank = 0; rank < ranks; ++rank)
      gemm(product.matrix, product.x.data(), product.x_stride, product.vectors, product.y.data(), product.y_stride,
           slice_of(product.matrix.rows, rank, ranks, 16), workspace, rank);
  }

  // What gemm.h states for one result, and the rounding of fp32 sums.
  double bound(const Product& p, int64_t v, int64_t r) const {
    const bool best = GetParam() == SimdLevel::kAvx512Bf16;
    const WeightForm& form = p.matrix.form;
    const int64_t group = form.group == 0 ? 128 : form.group;
    double products = 0, coded = 0;
    for (int64_t begin = 0; begin < p.matrix.columns; begin += group) {
      double weights = 0, most = 0;
      for (int64_t c = begin; c < std::min(begin + group, p.matrix.columns); ++c) {
        const double w = std::abs(weight_at(p.matrix, r, c)), x = std::abs(p.x[static_cast<size_t>(v * p.x_stride + c)]);
        weights += w, most = std::max(most, x), products += w * x;
      }
      coded += weights * most / 254;
    }
    double result = 2e-6 * products;
    if (best && form.precision == Precision::kBF16) result += products / 256;
    if (best && form.precision == Precision::kI8) result += coded * 1.0001;
    return result;
  }

  void check(const Product& p) {
    for (int64_t v = 0; v < p.vectors; ++v)
      for (int64_t r = 0; r < p.matrix.rows; ++r) {
        double sum = 0;
        for (int64_t c = 0; c < p.matrix.columns; ++c) sum += weight_at(p.matrix, r, c) * static_cast<double>(p.x[static_cast<size_t>(v * p.x_stride + c)]);
        const double error = std::abs(static_cast<double>(p.row(v)[r]) - sum);
        ASSERT_LE(error, bound(p, v, r)) << to_string(p.matrix.form) << " " << p.matrix.columns << " columns, row " << r << ", vector " << v;
      }
    for (int64_t v = 0; v < p.vectors; ++v)
      for (int64_t r = p.matrix.rows; r < p.y_stride; ++r) ASSERT_EQ(p.row(v)[r], Product::kUntouched);
  }
};

TEST_P(Gemm, MultipliesEveryWidth) {
  for (const DenseForm& form : kDenseForms)
    for (int64_t columns = 1; columns <= 130; ++columns) {
      const WeightMatrix matrix = random_matrix(form, 13, columns, static_cast<uint64_t>(columns));
      Product product(matrix, 9, 7);
      run(product);
      check(product);
    }
}

TEST_P(Gemm, MultipliesEveryNumberOfVectorsAndRows) {
  for (const DenseForm& form : kDenseForms)
    for (int64_t vectors : {1, 2, 8, 15, 16, 17, 31, 33, 47, 48, 63, 64, 65, 80, 130}) {
      const WeightMatrix matrix = random_matrix(form, 1 + vectors % 67, 70, 3);
      Product product(matrix, vectors, 5);
      run(product);
      check(product);
    }
}

// More columns than one pass over a panel takes, more rows than a block.
TEST_P(Gemm, MultipliesLargeMatrices) {
  for (const DenseForm& form : kDenseForms) {
    const WeightMatrix matrix = random_matrix(form, 101, 2193, 3);
    Product product(matrix, 70, 5);
    run(product);
    check(product);
  }
}

TEST_P(Gemm, GivesTheSameBitsWhateverTheVectorsAndRanks) {
  for (const DenseForm& form : kDenseForms) {
    const WeightMatrix matrix = random_matrix(form, 77, 1111, 3);
    Product whole(matrix, 90, 5), shared(matrix, 90, 5);
    run(whole);
    run(shared, 3);
    EXPECT_EQ(whole.y, shared.y);
    GemmWorkspace workspace(GetParam());
    workspace.reserve(matrix, 90, 1);
    for (int64_t count : {1, 8, 9, 40, 64}) {
      Product part(matrix, 90, 5);
      const int64_t first = 90 - count;
      gemm(matrix, part.x.data() + first * part.x_stride, part.x_stride, count, part.y.data(), part.y_stride, {0, 77}, workspace, 0);
      for (int64_t v = 0; v < count; ++v)
        EXPECT_EQ(0, std::memcmp(part.row(v), whole.row(first + v), 77 * sizeof(float))) << to_string(matrix.form) << " " << count;
    }
  }
}

TEST_P(Gemm, ReadsNothingBehindTheWeightsAndAtOddAddresses) {
  for (const DenseForm& form : kDenseForms) {
    const WeightMatrix aligned = random_matrix(form, 7, 77, 4);
    Product expected(aligned, 20, 6);
    run(expected);
    const size_t step = size_of(aligned.values.dtype()), bytes = aligned.values.byte_size();
    // What lies before and behind is no number in any precision: one that was used would show.
    auto memory = std::make_shared<std::vector<std::byte>>(bytes + 128, std::byte{0xff});
    for (size_t shift : {step, 3 * step, 32 - step}) {
      std::memcpy(memory->data() + shift, aligned.values.bytes(), bytes);
      WeightMatrix moved = aligned;
      moved.values = Tensor(aligned.values.dtype(), aligned.values.shape(), memory, memory->data() + shift);
      Product product(moved, 20, 6);
      run(product);
      EXPECT_EQ(product.y, expected.y) << to_string(aligned.form);
      std::fill(memory->begin(), memory->end(), std::byte{0xff});
    }
  }
}

TEST_P(Gemm, InfinitiesAndWhatIsNoNumberStayInTheirVector) {
  for (const DenseForm& form : kDenseForms) {
    const WeightMatrix matrix = random_matrix(form, 20, 100, 4);
    Product clean(matrix, 18, 6), product(matrix, 18, 6);
    run(clean);
    product.x[static_cast<size_t>(3 * product.x_stride + 50)] = std::numeric_limits<float>::infinity();
    product.x[static_cast<size_t>(5 * product.x_stride + 99)] = std::nanf("");
    run(product);
    for (int64_t v = 0; v < 18; ++v)
      for (int64_t r = 0; r < 20; ++r) {
        if (v == 3 || v == 5) {
          EXPECT_TRUE(!std::isfinite(product.row(v)[r]) || (v == 3 && weight_at(matrix, r, 50) == 0)) << to_string(matrix.form);
        } else {
          EXPECT_EQ(product.row(v)[r], clean.row(v)[r]);
        }
      }
  }
}

TEST_P(Gemm, SparseFormsMultiplyAsDenseOnesOfTheSamePrecision) {
  for (int64_t columns : {96, 200, 1028}) {  // with and without tails of words and blocks
    std::vector<float> values = numbers(50 * columns, 8);
    for (size_t i = 0; i < values.size(); ++i)
      if (i / 16 % 3 == 1 || i % 4 > 1) values[i] = 0;
    const Tensor weight = Tensor::from_floats({50, columns}, values);
    for (const WeightForm& dense : {WeightForm{Precision::kF32}, {Precision::kBF16}, {Precision::kF16}, {Precision::kI8}, {Precision::kI8, Layout::kDense, 32}})
      for (WeightForm form : {WeightForm{{}, Layout::kBitmap}, {{}, Layout::kBlock16}, {{}, Layout::kNOfM, 0, 2, 4}}) {
        form.precision = dense.precision, form.group = dense.group;
        const WeightMatrix sparse = make_matrix(weight, form, "w"), whole = make_matrix(weight, dense, "w");
        Product product(sparse, 33, 5), expected(whole, 33, 5);
        run(product, 2);
        run(expected);
        for (int64_t v = 0; v < 33; ++v) EXPECT_EQ(0, std::memcmp(product.row(v), expected.row(v), 50 * sizeof(float))) << to_string(form) << " " << columns;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Gemm, testing::ValuesIn(machine_simd_levels()),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

}  // namespace
}  // namespace espalier
