// The loops that the SIMD levels share, over what a level calls its lanes:
//   Vector, kWidth                 floats at once
//   zero, load, store, fma, times, add, spread, sum
//   Values<Code>                   expand(mask, from, w): 4 · kWidth columns of a bitmap, w[i] with zeros where a bit is 0;
//                                  block(from, w): 16 values in 16 / kWidth vectors
//   kArranged<Code>, arrange       expand gives the columns of a word in an order of its own; arrange copies x so
// Include it only in level files. Every instance has internal linkage because the lanes have (see sparse_view.h).
#pragma once

#include "espalier/engine/kernels/sparse_view.h"

namespace espalier::sparse {

constexpr int kParts = 4;  // vectors that are expanded together, and sums that a row of blocks has

// How far ahead values are asked for, into the second cache: measured.
template <typename T>
constexpr int64_t kBytesAhead = sizeof(T) == sizeof(float) ? 4096 : 2048;

template <typename Lanes, Code kCode>
using Element = typename Lanes::template Values<kCode>::Element;

// One row of a bitmap or N:M matrix, kParts vectors of columns at a time.
template <typename Lanes, Kind kKind, Code kCode>
struct BitRow {
  using Values = typename Lanes::template Values<kCode>;
  static constexpr int64_t kColumns = kParts * Lanes::kWidth;

  void begin(const View& view, int64_t row) {
    bits = view.bits + row * view.bit_stride;
    values = static_cast<const typename Values::Element*>(view.values) + (kKind == Kind::kBitmap ? view.offsets[row] : row * view.row_values);
    scales = view.scales + row * view.scale_stride;
    step = kKind == Kind::kRegular ? view.eight_values * (kColumns / 8) : 0;
    group = view.group_shift;
    last_group = view.scale_stride - 1;
  }

  void next(int64_t column, typename Lanes::Vector (&w)[kParts]) {
    const auto mask = Lanes::mask_at(bits + column / 8);
    ask_ahead();
    Values::expand(mask, values, w);
    values += kKind == Kind::kRegular ? step : Lanes::count(mask);
    if constexpr (kCode == Code::kI8Groups)
      for (int i = 0; i < kParts; ++i) {
        const int64_t at = (column + i * Lanes::kWidth) >> group;
        w[i] = Lanes::times(w[i], Lanes::spread(scales[at < last_group ? at : last_group]));  // a last word goes beyond the row
      }
  }

  // The steps differ too much for the machine to fetch far enough ahead by itself.
  void ask_ahead() const {
    constexpr int64_t kLine = 64;
    const auto* from = reinterpret_cast<const char*>(values) + kBytesAhead<typename Values::Element>;
    __builtin_prefetch(from, 0, 2);
    __builtin_prefetch(from + kLine, 0, 2);
    if constexpr (sizeof(typename Values::Element) == sizeof(float)) __builtin_prefetch(from + 2 * kLine, 0, 2);
  }

  const uint8_t* bits;
  const typename Values::Element* values;
  const float* scales;
  int64_t step;
  int group;
  int64_t last_group;
};

template <typename Lanes, Code kCode>
float finish(typename Lanes::Vector sums, const View& view, int64_t row) {
  const float sum = Lanes::sum(sums);
  return kCode == Code::kI8 ? sum * view.scales[row * view.scale_stride] : sum;
}

// Each part of x is loaded for all rows. A row and vector have one sum, whatever runs beside them; where so few sums leave the additions waiting for each other, expanding takes longer still.
template <typename Lanes, Kind kKind, Code kCode, int kRows, int kVectors>
void multiply_bit_rows(const View& view, const int64_t (&rows)[kRows], const float* x, int64_t x_stride, float* y, int64_t y_stride) {
  using Row = BitRow<Lanes, kKind, kCode>;
  typename Lanes::Vector sums[kVectors][kRows];
  for (auto& vector : sums)
    for (auto& sum : vector) sum = Lanes::zero();
  Row sources[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) sources[r].begin(view, rows[r]);
  for (int64_t column = 0; column < view.columns; column += Row::kColumns) {
    typename Lanes::Vector w[kRows][kParts];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sources[r].next(column, w[r]);
#pragma GCC unroll 4
    for (int i = 0; i < kParts; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const auto part = Lanes::load(x + v * x_stride + column + i * Lanes::kWidth);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) sums[v][r] = Lanes::fma(w[r][i], part, sums[v][r]);
      }
  }
  for (int v = 0; v < kVectors; ++v)
    for (int r = 0; r < kRows; ++r) y[v * y_stride + rows[r]] = finish<Lanes, kCode>(sums[v][r], view, rows[r]);
}

template <typename Lanes, Code kCode>
struct BlockRow {
  using Values = typename Lanes::template Values<kCode>;
  static constexpr int kBlock = 16, kVectorsOfBlock = kBlock / Lanes::kWidth;

  BlockRow(const View& view, int64_t row)
      : values(static_cast<const typename Values::Element*>(view.values)),
        blocks(view.blocks),
        scales(view.scales + row * view.scale_stride),
        group(view.group_shift) {}

  // The columns at which block i begins.
  int64_t read(int64_t i, typename Lanes::Vector (&w)[kVectorsOfBlock]) const {
    const int64_t column = int64_t{blocks[i]} * kBlock;
    __builtin_prefetch(reinterpret_cast<const char*>(values + i * kBlock) + kBytesAhead<typename Values::Element>, 0, 2);
    Values::block(values + i * kBlock, w);
    if constexpr (kCode == Code::kI8Groups)
      for (auto& part : w) part = Lanes::times(part, Lanes::spread(scales[column >> group]));
    return column;
  }

  const typename Values::Element* values;
  const uint16_t* blocks;
  const float* scales;
  int group;
};

// Vector j of a row's k-th block goes to sum (k · vectors a block + j) mod kParts, whatever else runs.
template <typename Lanes, Code kCode, int kRows, int kVectors>
void multiply_block_rows(const View& view, const int64_t (&rows)[kRows], const float* x, int64_t x_stride, float* y, int64_t y_stride) {
  using Row = BlockRow<Lanes, kCode>;
  constexpr int kUnroll = kParts / Row::kVectorsOfBlock;
  typename Lanes::Vector sums[kRows][kVectors][kParts];
  for (auto& row : sums)
    for (auto& vector : row)
      for (auto& sum : vector) sum = Lanes::zero();
  const auto add = [&](const Row& source, int r, int64_t block, int turn) __attribute__((always_inline)) {
    typename Lanes::Vector w[Row::kVectorsOfBlock];
    const int64_t column = source.read(block, w);
    for (int v = 0; v < kVectors; ++v)
      for (int j = 0; j < Row::kVectorsOfBlock; ++j) {
        auto& sum = sums[r][v][turn * Row::kVectorsOfBlock + j];
        sum = Lanes::fma(w[j], Lanes::load(x + v * x_stride + column + j * Lanes::kWidth), sum);
      }
  };
  int64_t block[kRows], end[kRows], together = view.columns;
  for (int r = 0; r < kRows; ++r) {
    block[r] = view.offsets[rows[r]], end[r] = view.offsets[rows[r] + 1];
    together = end[r] - block[r] < together ? end[r] - block[r] : together;
  }
  const auto source = [&](int r) __attribute__((always_inline)) { return Row(view, rows[r]); };
  for (int64_t i = 0; i + kUnroll <= together; i += kUnroll)
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      for (int turn = 0; turn < kUnroll; ++turn) add(source(r), r, block[r] + turn, turn);
      block[r] += kUnroll;
    }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    for (; block[r] + kUnroll <= end[r]; block[r] += kUnroll)
      for (int turn = 0; turn < kUnroll; ++turn) add(source(r), r, block[r] + turn, turn);
    for (int turn = 0; turn < kUnroll - 1; ++turn)
      if (block[r] + turn < end[r]) add(source(r), r, block[r] + turn, turn);
    for (int v = 0; v < kVectors; ++v) {
      const auto& sum = sums[r][v];
      y[v * y_stride + rows[r]] = finish<Lanes, kCode>(Lanes::add(Lanes::add(sum[0], sum[1]), Lanes::add(sum[2], sum[3])), view, rows[r]);
    }
  }
}

// fn<n>(first vector) for at most `most` vectors at a time, a power of two.
template <int most, typename Fn>
inline __attribute__((always_inline)) void for_vectors(int64_t vectors, int64_t first, const Fn& fn) {
  for (; vectors - first >= most; first += most) fn.template operator()<most>(first);
  if constexpr (most > 1)
    if (first < vectors) for_vectors<most / 2>(vectors, first, fn);
}

// fn(rows) for kRows at a time that lie far apart, as many streams from memory; the last row may be done more than once.
template <int kRows, typename Fn>
inline __attribute__((always_inline)) void for_far_rows(int64_t begin, int64_t end, const Fn& fn) {
  const int64_t length = (end - begin + kRows - 1) / kRows;
  for (int64_t row = begin; row < begin + length; ++row) {
    int64_t rows[kRows];
    for (int r = 0; r < kRows; ++r) rows[r] = row + r * length < end ? row + r * length : end - 1;
    fn(rows);
  }
}

// Several vectors take a row together: it comes from memory once, then from the cache.
template <typename Lanes, Kind kKind, Code kCode>
void multiply_rows(const View& view, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride,
                   int64_t begin, int64_t end) {
  if constexpr (kKind != Kind::kBlocks && Lanes::template kArranged<kCode>) {
    const int64_t stride = (view.columns + 63) / 64 * 64;
    auto* arranged = static_cast<float*>(view.scratch);
    for (int64_t v = 0; v < vectors; ++v) Lanes::arrange(x + v * x_stride, stride, arranged + v * stride);
    x = arranged;
    x_stride = stride;
  }
  const auto multiply = [&]<int kRows, int kVectors>() {
    for_far_rows<kRows>(begin, end, [&](const int64_t (&rows)[kRows]) {
      for_vectors<kVectors>(vectors, 0, [&]<int n>(int64_t v) {
        if constexpr (kKind == Kind::kBlocks) multiply_block_rows<Lanes, kCode, kRows, n>(view, rows, x + v * x_stride, x_stride, y + v * y_stride, y_stride);
        else multiply_bit_rows<Lanes, kKind, kCode, kRows, n>(view, rows, x + v * x_stride, x_stride, y + v * y_stride, y_stride);
      });
    });
  };
  constexpr bool kBlocks = kKind == Kind::kBlocks;
  if (vectors == 1) multiply.template operator()<Lanes::kRowsAlone, 1>();
  else multiply.template operator()<kBlocks ? 1 : 2, kBlocks ? Lanes::kOfBlocks : Lanes::kTogether>();
}

template <typename Lanes, Kind kKind, Code kCode>
void expand_row(const View& view, int64_t row, float* target) {
  const float scale = kCode == Code::kI8 ? view.scales[row * view.scale_stride] : 1.0f;
  const auto put = [&](typename Lanes::Vector w, float* to) __attribute__((always_inline)) {
    Lanes::store(to, kCode == Code::kI8 ? Lanes::times(w, Lanes::spread(scale)) : w);
  };
  if constexpr (kKind == Kind::kBlocks) {
    for (int64_t column = 0; column < view.columns; column += Lanes::kWidth) Lanes::store(target + column, Lanes::zero());
    const BlockRow<Lanes, kCode> source(view, row);
    for (int64_t block = view.offsets[row]; block < view.offsets[row + 1]; ++block) {
      typename Lanes::Vector w[BlockRow<Lanes, kCode>::kVectorsOfBlock];
      float* to = target + source.read(block, w);
      for (const auto& part : w) put(part, to), to += Lanes::kWidth;
    }
  } else {
    BitRow<Lanes, kKind, kCode> source;
    source.begin(view, row);
    for (int64_t column = 0; column < view.columns; column += source.kColumns) {
      typename Lanes::Vector w[kParts];
      source.next(column, w);
      for (int i = 0; i < kParts; ++i) put(w[i], target + column + i * Lanes::kWidth);
    }
  }
}

#define ESP_SPARSE_CODES(function, Lanes, kind)                                                                \
  {                                                                                                            \
    function<Lanes, kind, Code::kF32>, function<Lanes, kind, Code::kBF16>, function<Lanes, kind, Code::kF16>,  \
        function<Lanes, kind, Code::kI8>, function<Lanes, kind, Code::kI8Groups>                               \
  }
#define ESP_SPARSE_KINDS(function, Lanes)                                                                      \
  {                                                                                                            \
    ESP_SPARSE_CODES(function, Lanes, Kind::kRegular), ESP_SPARSE_CODES(function, Lanes, Kind::kRuns),         \
        ESP_SPARSE_CODES(function, Lanes, Kind::kBitmap), ESP_SPARSE_CODES(function, Lanes, Kind::kBlocks)     \
  }
// The table of a level file that defines Lanes, for products, and PlainLanes, whose columns are in order, for rows.
#define ESP_SPARSE_LEVEL { ESP_SPARSE_KINDS(multiply_rows, Lanes), ESP_SPARSE_KINDS(expand_row, PlainLanes) }

}  // namespace espalier::sparse
