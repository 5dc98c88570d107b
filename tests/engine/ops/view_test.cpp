// Views against plain enumeration: reshaping, density, and copies between random arrangements.
#include "espalier/engine/ops/view.h"

#include <gtest/gtest.h>

#include <numeric>

#include "espalier/core/rng.h"
#include "espalier/engine/ops/strided_copy.h"

namespace espalier {
namespace {

// Offsets of all elements in row-major order.
std::vector<int64_t> offsets(const View& view) {
  std::vector<int64_t> result{view.offset};
  for (size_t d = 0; d < view.rank(); ++d) {
    std::vector<int64_t> next;
    for (int64_t base : result)
      for (int64_t i = 0; i < view.shape[d]; ++i) next.push_back(base + i * view.strides[d]);
    result = std::move(next);
  }
  return result;
}

// Contiguous dims in random order, some of them cut short.
View random_view(Rng& rng, bool whole) {
  View view;
  const size_t rank = 1 + rng.below(4);
  view.shape.resize(rank);
  view.strides.resize(rank);
  std::vector<size_t> order(rank);
  std::iota(order.begin(), order.end(), size_t{0});
  rng.shuffle(order);
  int64_t stride = 1;
  for (size_t d : order) {
    const auto size = static_cast<int64_t>(1 + rng.below(4));
    view.strides[d] = stride;
    view.shape[d] = !whole && rng.below(3) == 0 ? (size + 1) / 2 : size;
    stride *= size;
  }
  return view;
}

TEST(Views, ReshapingKeepsTheOrderOfElements) {
  Rng rng(1, "reshape");
  int as_views = 0;
  for (int i = 0; i < 4000; ++i) {
    const View view = random_view(rng, false);
    Shape shape;
    for (int64_t size : view.shape) {
      if (!shape.empty() && rng.below(2) == 0) {
        shape.back() *= size;
      } else if (size % 2 == 0 && rng.below(2) == 0) {
        shape.insert(shape.end(), {2, size / 2});
      } else {
        shape.push_back(size);
      }
      if (rng.below(5) == 0) shape.push_back(1);
    }
    const auto result = reshaped(view, shape);
    EXPECT_TRUE(result.has_value() || !is_contiguous(view));
    if (!result) continue;
    ++as_views;
    EXPECT_EQ(result->shape, shape);
    ASSERT_EQ(offsets(*result), offsets(view));
  }
  EXPECT_GT(as_views, 1000);
}

TEST(Views, AreDenseWhenEveryOffsetIsTakenOnce) {
  Rng rng(2, "dense");
  for (int i = 0; i < 2000; ++i) {
    const View view = random_view(rng, false);
    auto all = offsets(view);
    std::sort(all.begin(), all.end());
    bool dense = true;
    for (size_t k = 0; k < all.size(); ++k) dense = dense && all[k] == static_cast<int64_t>(k);
    EXPECT_EQ(is_dense(view), dense);
  }
}

TEST(Views, KnowChannelsLast) {
  EXPECT_EQ(channels_last_strides({2, 3, 4, 5}), (Shape{60, 1, 15, 3}));
  EXPECT_EQ(channels_last_strides({2, 3, 4}), (Shape{12, 1, 3}));
  View flat{DType::kF32, {2, 3, 1, 1}, {3, 1, 1, 1}, 0, 0};
  EXPECT_TRUE(is_channels_last(flat));
  EXPECT_TRUE(is_contiguous(flat));
  EXPECT_EQ(broadcast_strides(View{DType::kF32, {3, 1}, {1, 1}, 0, 0}, {2, 3, 4}), (Shape{0, 1, 0}));
}

TEST(StridedCopies, MoveEveryElementToItsPlace) {
  Rng rng(3, "copies");
  for (int i = 0; i < 1000; ++i) {
    const View to = random_view(rng, true);
    View from = to;
    std::vector<size_t> order(to.rank());
    std::iota(order.begin(), order.end(), size_t{0});
    rng.shuffle(order);
    int64_t stride = 1 + static_cast<int64_t>(rng.below(2));
    for (size_t d : order) {
      from.strides[d] = rng.below(6) == 0 ? 0 : stride;
      stride *= to.shape[d];
    }
    std::vector<float> source(static_cast<size_t>(stride + 1)), target(static_cast<size_t>(to.count()), -1);
    std::iota(source.begin(), source.end(), 0.0f);
    StridedCopy(to.shape, from.strides, to.strides, sizeof(float))
        .run(reinterpret_cast<const std::byte*>(source.data()), reinterpret_cast<std::byte*>(target.data()));
    const auto reads = offsets(from), writes = offsets(to);
    for (size_t k = 0; k < reads.size(); ++k)
      ASSERT_EQ(target[static_cast<size_t>(writes[k])], source[static_cast<size_t>(reads[k])]) << i;
  }
}

TEST(StridedCopies, TransposeLargeMatricesOfEveryElementSize) {
  constexpr int64_t kRows = 37, kColumns = 1051;
  const auto check = [&](auto zero) {
    using T = decltype(zero);
    std::vector<T> source(kRows * kColumns), target(kRows * kColumns);
    for (size_t k = 0; k < source.size(); ++k) source[k] = static_cast<T>(k * 7);
    StridedCopy({kColumns, kRows}, {1, kColumns}, {kRows, 1}, sizeof(T))
        .run(reinterpret_cast<const std::byte*>(source.data()), reinterpret_cast<std::byte*>(target.data()));
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t c = 0; c < kColumns; ++c)
        ASSERT_EQ(target[static_cast<size_t>(c * kRows + r)], source[static_cast<size_t>(r * kColumns + c)]);
  };
  check(uint8_t{});
  check(uint32_t{});
  check(uint64_t{});
}

}  // namespace
}  // namespace espalier
