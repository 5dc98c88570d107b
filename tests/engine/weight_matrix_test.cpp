#include "espalier/engine/weight_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "tests/support.h"

namespace espalier {
namespace {

Tensor random_tensor(Shape shape, double density, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::bernoulli_distribution kept(density);
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  for (float& value : values) value = kept(random) ? normal(random) : 0.0f;
  return Tensor::from_floats(std::move(shape), values);
}

template <typename T>
std::vector<T> list(const Tensor& tensor) {
  return {tensor.as<T>().begin(), tensor.as<T>().end()};
}

TEST(WeightForm, IsNamedAsUsersWriteIt) {
  EXPECT_EQ(to_string(WeightForm{Precision::kBF16}), "bf16");
  EXPECT_EQ(to_string(WeightForm{Precision::kI8, Layout::kDense, 64}), "int8/64 dense");
  EXPECT_EQ(to_string(WeightForm{Precision::kI8}), "int8 dense");
  EXPECT_EQ(to_string(WeightForm{Precision::kBF16, Layout::kNOfM, 0, 2, 4}), "bf16 2:4");
  EXPECT_EQ(to_string(WeightForm{Precision::kF32, Layout::kBitmap}), "fp32 bitmap");
  EXPECT_EQ(to_string(WeightForm{Precision::kI8, Layout::kBlock16, 32}), "int8/32 block:1x16");
  EXPECT_EQ(to_string(WeightForm{Precision::kF16}), "fp16");
}

TEST(WeightMatrix, LeavesADenseWeightWhereItIs) {
  const Tensor weight = random_tensor({3, 5}, 1.0, 1);
  const WeightMatrix matrix = dense_matrix(weight);
  EXPECT_EQ(matrix.values.bytes(), weight.bytes());
  EXPECT_EQ(matrix.rows, 3);
  EXPECT_EQ(matrix.columns, 5);
  EXPECT_EQ(matrix.form, WeightForm{});
  EXPECT_EQ(matrix.stored(), 15);
  EXPECT_EQ(matrix.byte_size(), 60u);
  EXPECT_EQ(list<float>(to_dense(matrix)), list<float>(weight));
}

TEST(WeightMatrix, BitmapByHand) {
  const Tensor weight = Tensor::from_floats({3, 10}, std::vector<float>{0, 1, 0, 0, 0, 0, 0, 0, 0, 2,  //
                                                                        0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  //
                                                                        3, 0, 0, 0, 0, 0, 0, 4, 5, -0.0f});
  const WeightMatrix matrix = make_matrix(weight, {Precision::kF32, Layout::kBitmap}, "w");
  EXPECT_EQ(matrix.index.shape(), (Shape{3, 8}));
  const auto bits = list<uint8_t>(matrix.index);
  EXPECT_EQ(bits[0], 0x02);
  EXPECT_EQ(bits[1], 0x02);
  EXPECT_EQ(bits[8], 0x00);
  EXPECT_EQ(bits[16], 0x81);
  EXPECT_EQ(bits[17], 0x01);
  EXPECT_EQ(list<int64_t>(matrix.offsets), (std::vector<int64_t>{0, 2, 2, 5}));
  EXPECT_EQ(matrix.values.count(), 5 + kValueSlack);
  const auto values = list<float>(matrix.values);
  EXPECT_EQ((std::vector<float>(values.begin(), values.begin() + 5)), (std::vector<float>{1, 2, 3, 4, 5}));
  EXPECT_EQ(matrix.stored(), 5);
  EXPECT_EQ(matrix.byte_size(), 5u * 4 + 24 + 32);
}

TEST(WeightMatrix, NOfMFillsRunsThatHaveFewer) {
  const Tensor weight = Tensor::from_floats({1, 8}, std::vector<float>{0, 0, 7, 0, 1, 0, 0, 2});
  const WeightMatrix matrix = make_matrix(weight, {Precision::kF32, Layout::kNOfM, 0, 2, 4}, "w");
  EXPECT_EQ(list<uint8_t>(matrix.index)[0], 0b10010101);  // column 0 fills up the first run
  const auto values = list<float>(matrix.values);
  EXPECT_EQ((std::vector<float>(values.begin(), values.begin() + 4)), (std::vector<float>{0, 7, 1, 2}));
  EXPECT_EQ(matrix.stored(), 4);
}

TEST(WeightMatrix, BlocksByHand) {
  std::vector<float> values(2 * 40);
  values[17] = 1;       // row 0, block 1
  values[40 + 39] = 2;  // row 1, the last block of 8 columns
  const WeightMatrix matrix = make_matrix(Tensor::from_floats({2, 40}, values), {Precision::kF32, Layout::kBlock16}, "w");
  EXPECT_EQ(list<uint16_t>(matrix.index), (std::vector<uint16_t>{1, 2}));
  EXPECT_EQ(list<int64_t>(matrix.offsets), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(matrix.values.shape(), (Shape{2, 16}));
  EXPECT_EQ(list<float>(matrix.values)[1], 1.0f);
  EXPECT_EQ(list<float>(matrix.values)[16 + 7], 2.0f);
  EXPECT_EQ(list<float>(to_dense(matrix)), values);
}

TEST(WeightMatrix, Int8RoundsHalfToEven) {
  // The scale of row 0 is 1; 0.5 and 2.5 round down to even, 1.5 up.
  const Tensor weight = Tensor::from_floats({2, 5}, std::vector<float>{127, 0.5f, 1.5f, 2.5f, -2.5f, 0, 0, 0, 0, 0});
  const WeightMatrix matrix = make_matrix(weight, {Precision::kI8}, "w");
  EXPECT_EQ(list<int8_t>(matrix.values), (std::vector<int8_t>{127, 0, 2, 2, -2, 0, 0, 0, 0, 0}));
  EXPECT_EQ(list<float>(matrix.scales), (std::vector<float>{1, 0}));
}

TEST(WeightMatrix, Int8GroupsHaveScalesOfTheirOwn) {
  std::vector<float> values(40, 1.0f);
  values[33] = -254.0f;
  const WeightMatrix matrix = make_matrix(Tensor::from_floats({1, 40}, values), {Precision::kI8, Layout::kDense, 32}, "w");
  EXPECT_EQ(list<float>(matrix.scales), (std::vector<float>{1.0f / 127.0f, 2.0f}));
  EXPECT_EQ(list<int8_t>(matrix.values)[0], 127);
  EXPECT_EQ(list<int8_t>(matrix.values)[33], -127);
  EXPECT_EQ(list<int8_t>(matrix.values)[34], 0);  // 1 / 2 is half way: to even
}

TEST(WeightMatrix, EveryFormGivesTheWeightBackWithinItsPrecision) {
  for (const Precision precision : {Precision::kF32, Precision::kBF16, Precision::kF16, Precision::kI8})
    for (const Layout layout : {Layout::kDense, Layout::kBitmap, Layout::kBlock16})
      for (const int64_t group : {0, 64}) {
        if (group != 0 && precision != Precision::kI8) continue;
        const Tensor weight = random_tensor({7, 150}, 0.4, 2);
        const Tensor back = to_dense(make_matrix(weight, {precision, layout, group}, "w"));
        const auto a = weight.as<float>(), b = back.as<float>();
        const float bound = precision == Precision::kF32 ? 0.0f : precision == Precision::kI8 ? 0.0f : 1.0f / 256;
        for (size_t i = 0; i < a.size(); ++i) {
          if (precision == Precision::kI8) {
            ASSERT_NEAR(a[i], b[i], 4.5f / 127 / 2) << i;  // half a step of a row whose largest is below 4.5
          } else {
            ASSERT_NEAR(a[i], b[i], std::fabs(a[i]) * bound) << i;
          }
        }
      }
}

TEST(WeightMatrix, KeepsTheBitsOfTheWeightsOwnPrecision) {
  for (const auto& [dtype, precision] : {std::pair{DType::kBF16, Precision::kBF16}, {DType::kF16, Precision::kF16}}) {
    const Tensor weight = random_tensor({4, 64}, 1.0, 3).to(dtype);
    const WeightMatrix matrix = make_matrix(weight, {precision, Layout::kDense}, "w");
    EXPECT_EQ(list<uint16_t>(matrix.values), list<uint16_t>(weight));
  }
}

TEST(WeightMatrix, RefusesWhatAFormCannotHold) {
  const Tensor weight = Tensor::from_floats({1, 8}, std::vector<float>{1, 2, 3, 0, 0, 0, 0, 0});
  ESP_EXPECT_USER_ERROR(make_matrix(weight, {Precision::kF32, Layout::kNOfM, 0, 2, 4}, "layer.weight"), "layer.weight");
  ESP_EXPECT_USER_ERROR(make_matrix(weight, {Precision::kF32, Layout::kNOfM, 0, 2, 4}, "w"), "columns 0 to 3");
  ESP_EXPECT_USER_ERROR(make_matrix(weight, {Precision::kF32, Layout::kNOfM, 0, 2, 5}, "w"), "multiple of 5");
  ESP_EXPECT_USER_ERROR(make_matrix(weight, {Precision::kF32, Layout::kNOfM, 0, 4, 4}, "w"), "0 < n < m");
  ESP_EXPECT_USER_ERROR(make_matrix(weight, {Precision::kI8, Layout::kDense, 48}, "w"), "32, 64, 128");
  const Tensor broken = Tensor::from_floats({1, 2}, std::vector<float>{1, std::numeric_limits<float>::infinity()});
  ESP_EXPECT_USER_ERROR(make_matrix(broken, {Precision::kI8}, "layer.weight"), "layer.weight: row 0");
}

TEST(WeightMatrix, EmptyMatricesHaveEveryForm) {
  for (const Layout layout : {Layout::kDense, Layout::kBitmap, Layout::kBlock16, Layout::kNOfM})
    for (const Shape& shape : {Shape{0, 8}, Shape{3, 0}}) {
      const WeightMatrix matrix = make_matrix(Tensor(DType::kF32, shape), {Precision::kF32, layout, 0, 2, 4}, "w");
      EXPECT_EQ(to_dense(matrix).shape(), shape);
    }
}

Layout suggested(const Tensor& weight) { return suggest_form(weight, Precision::kBF16).layout; }

TEST(SuggestForm, FollowsTheZeros) {
  EXPECT_EQ(suggested(random_tensor({64, 256}, 1.0, 4)), Layout::kDense);
  EXPECT_EQ(suggested(random_tensor({64, 256}, 0.9, 4)), Layout::kDense);
  EXPECT_EQ(suggested(random_tensor({64, 256}, 0.5, 4)), Layout::kBitmap);
  EXPECT_EQ(suggested(random_tensor({64, 256}, 0.2, 4)), Layout::kBitmap);
  EXPECT_EQ(suggest_form(random_tensor({64, 256}, 0.5, 4), Precision::kI8).layout, Layout::kDense);
}

TEST(SuggestForm, SeesRunsAndBlocks) {
  Tensor runs = random_tensor({64, 256}, 1.0, 5), blocks = runs;
  std::vector<float> of_runs = runs.to_floats(), of_blocks = of_runs;
  for (size_t i = 0; i < of_runs.size(); ++i) {
    if (i % 4 == (i / 4) % 4 || i % 4 == (i / 4 + 1) % 4) of_runs[i] = 0;
    if ((i / 16) % 2 == 0) of_blocks[i] = 0;
  }
  const WeightForm of_four = suggest_form(Tensor::from_floats({64, 256}, of_runs), Precision::kF32);
  EXPECT_EQ(of_four, (WeightForm{Precision::kF32, Layout::kNOfM, 0, 2, 4}));
  EXPECT_EQ(suggested(Tensor::from_floats({64, 256}, of_blocks)), Layout::kBlock16);
  // One full run among all: no longer 2:4, and make_matrix would have refused it.
  for (size_t i = 4; i < 8; ++i) of_runs[255 * 64 + i] = 1;
  EXPECT_NE(suggest_form(Tensor::from_floats({64, 256}, of_runs), Precision::kF32).layout, Layout::kNOfM);
}

}  // namespace
}  // namespace espalier
