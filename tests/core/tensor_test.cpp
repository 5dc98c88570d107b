#include "espalier/core/tensor.h"

#include <gtest/gtest.h>

#include <numeric>

#include "espalier/core/error.h"

namespace espalier {
namespace {

Tensor counting(Shape shape) {
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  std::iota(values.begin(), values.end(), 0.0f);
  return Tensor::from_floats(std::move(shape), values);
}

TEST(Tensor, OwnedOnesStartAsZeros) {
  const Tensor tensor(DType::kBF16, {3, 5});
  EXPECT_EQ(tensor.count(), 15);
  EXPECT_EQ(tensor.byte_size(), 30u);
  EXPECT_EQ(tensor.to_floats(), std::vector<float>(15, 0.0f));
}

TEST(Tensor, AScalarHasOneElementAndAnEmptyOneNone) {
  EXPECT_EQ(Tensor(DType::kF32, {}).count(), 1);
  EXPECT_EQ(Tensor(DType::kF32, {4, 0}).count(), 0);
  EXPECT_TRUE(Tensor(DType::kF32, {0}).defined());
  EXPECT_TRUE(Tensor(DType::kF32, {0}).to_floats().empty());
}

TEST(Tensor, SizesThatOverflowOrAreNegativeAreBugs) {
  EXPECT_THROW(element_count({int64_t{1} << 40, int64_t{1} << 40}), Bug);
  EXPECT_THROW(element_count({3, -1}), Bug);
  EXPECT_EQ(element_count({0, int64_t{1} << 62}), 0);
}

TEST(Tensor, CopiesShareBytesAndViewsCannotBeWritten) {
  Tensor tensor = counting({4});
  const Tensor copy = tensor;
  tensor.mutable_as<float>()[2] = 9;
  EXPECT_EQ(copy.as<float>()[2], 9);
  auto owner = std::make_shared<std::vector<float>>(2, 1.5f);
  std::weak_ptr<std::vector<float>> alive = owner;
  Tensor view(DType::kF32, {2}, owner, reinterpret_cast<const std::byte*>(owner->data()));
  owner.reset();
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ(view.to_floats(), (std::vector<float>{1.5f, 1.5f}));
  EXPECT_THROW(view.mutable_bytes(), Bug);
  view = Tensor();
  EXPECT_TRUE(alive.expired());
}

TEST(Tensor, ConvertsAndConvertsBack) {
  const Tensor tensor = Tensor::from_floats({4}, std::vector<float>{1, -0.5f, 3, 0});
  for (DType dtype : {DType::kF16, DType::kBF16, DType::kF64, DType::kF8E4M3, DType::kF8E5M2}) {
    const Tensor narrow = tensor.to(dtype);
    EXPECT_EQ(narrow.dtype(), dtype);
    EXPECT_EQ(narrow.to(DType::kF32).to_floats(), tensor.to_floats()) << name_of(dtype);
  }
  EXPECT_EQ(tensor.to(DType::kF32).bytes(), tensor.bytes());
  EXPECT_THROW(tensor.to(DType::kI32), Bug);
}

TEST(Tensor, FromFloatsNeedsAsManyAsTheShapeSays) {
  EXPECT_THROW(Tensor::from_floats({2, 2}, std::vector<float>{1, 2, 3}), Bug);
}

TEST(Tensor, TakePicksAlongAnyAxisInTheGivenOrder) {
  const Tensor tensor = counting({2, 3, 2});  // value = 6 a + 2 b + c
  EXPECT_EQ(take(tensor, 0, std::vector<int64_t>{1}).to_floats(), (std::vector<float>{6, 7, 8, 9, 10, 11}));
  const Tensor middle = take(tensor, 1, std::vector<int64_t>{2, 0});
  EXPECT_EQ(middle.shape(), (Shape{2, 2, 2}));
  EXPECT_EQ(middle.to_floats(), (std::vector<float>{4, 5, 0, 1, 10, 11, 6, 7}));
  EXPECT_EQ(take(tensor, 2, std::vector<int64_t>{1, 1}).to_floats(),
            (std::vector<float>{1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11}));
  EXPECT_EQ(take(tensor, 1, std::vector<int64_t>{}).shape(), (Shape{2, 0, 2}));
  EXPECT_THROW(take(tensor, 0, std::vector<int64_t>{2}), Bug);
  EXPECT_THROW(take(tensor, 0, std::vector<int64_t>{-1}), Bug);
}

TEST(Tensor, TakeKeepsTheTypesBytes) {
  Tensor tensor(DType::kI16, {3});
  auto values = tensor.mutable_as<int16_t>();
  values[0] = -7, values[1] = 8, values[2] = 9;
  const Tensor taken = take(tensor, 0, std::vector<int64_t>{2, 0});
  EXPECT_EQ(taken.dtype(), DType::kI16);
  EXPECT_EQ(taken.as<int16_t>()[0], 9);
  EXPECT_EQ(taken.as<int16_t>()[1], -7);
}

TEST(Tensor, ShapesPrintForMessages) {
  EXPECT_EQ(to_string(Shape{4, 8}), "[4, 8]");
  EXPECT_EQ(to_string(Shape{}), "[]");
}

}  // namespace
}  // namespace espalier
