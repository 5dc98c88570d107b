// The dense matrix-vector kernels over Lanes, for the level files, each of which includes its lanes_*.h first.
//
// Each (row, vector) has one accumulator, lane i of which adds the columns i, i + width, … in order: so a sum does not
// depend on how many rows and vectors a block has. Several rows at once hide the latency of the additions, and their
// streams keep more reads under way than one. The hardware follows such short streams badly: asking for the next block's
// lines into the second cache made 768 columns of int8 2.4 times, of bf16 1.6 times as fast (into the first: nothing).
#pragma once

#include "espalier/engine/kernels/dense_kernels.h"

namespace espalier {
namespace {

struct Fp32Weights {
  using Element = float;
  static constexpr bool kRowScale = false, kGroups = false;
  template <typename... Count>
  static Lanes::Vec load(const float* p, Count... n) { return Lanes::load(p, n...); }
};
struct Bf16Weights {
  using Element = uint16_t;
  static constexpr bool kRowScale = false, kGroups = false;
  template <typename... Count>
  static Lanes::Vec load(const uint16_t* p, Count... n) { return Lanes::load_bf16(p, n...); }
};
struct Fp16Weights {
  using Element = uint16_t;
  static constexpr bool kRowScale = false, kGroups = false;
  template <typename... Count>
  static Lanes::Vec load(const uint16_t* p, Count... n) { return Lanes::load_fp16(p, n...); }
};
struct Int8Rows {
  using Element = int8_t;
  static constexpr bool kRowScale = true, kGroups = false;
  template <typename... Count>
  static Lanes::Vec load(const int8_t* p, Count... n) { return Lanes::load_int8(p, n...); }
};
struct Int8Groups : Int8Rows {
  static constexpr bool kRowScale = false, kGroups = true;
};

// Columns [c, c + n) of `rows` rows for `vectors` vectors; n = 0: a full width.
template <typename Weights, int kRows, int kVectors, typename... Count>
inline __attribute__((always_inline)) void step(const typename Weights::Element* const* w, const float* const* x, int64_t c,
                                                const Lanes::Vec* scales, Lanes::Vec (*sums)[kVectors], Count... n) {
  Lanes::Vec weights[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    weights[r] = Weights::load(w[r] + c, n...);
    if constexpr (Weights::kGroups) weights[r] = Lanes::mul(weights[r], scales[r]);
  }
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    Lanes::Vec xs = Lanes::load(x[v] + c);
    asm("" : "+v"(xs));  // else GCC loads it again for each row
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sums[r][v] = Lanes::fma(weights[r], xs, sums[r][v]);
  }
}

// How far ahead of a block's lines to ask for others: whole blocks, at least so many bytes.
constexpr int64_t kAhead = 24 << 10;
inline int64_t bytes_ahead(int64_t block_bytes) { return block_bytes >= kAhead ? block_bytes : kAhead / (block_bytes + 1) * block_bytes + block_bytes; }

template <typename Weights, int kRows, int kVectors>
void block(const DenseProduct& p, int64_t row, int64_t vector) {
  constexpr int64_t kElement = sizeof(typename Weights::Element), kLine = Weights::kGroups ? 32 : 64 / kElement;
  const int64_t ahead = bytes_ahead(kRows * p.columns * kElement);
  const typename Weights::Element* w[kRows];
  const float* x[kVectors];
  Lanes::Vec sums[kRows][kVectors], scales[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    w[r] = static_cast<const typename Weights::Element*>(p.weights) + (row + r) * p.columns;
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[r][v] = Lanes::zero();
  }
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) x[v] = p.x + (vector + v) * p.x_stride;
  const int64_t segment = Weights::kGroups ? p.group : p.columns, groups = Weights::kGroups ? (p.columns + segment - 1) / segment : 1;
  for (int64_t begin = 0, g = 0; begin < p.columns; begin += segment, ++g) {
    if constexpr (Weights::kGroups) {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) scales[r] = Lanes::set1(p.scales[(row + r) * groups + g]);
    }
    const int64_t end = begin + segment < p.columns ? begin + segment : p.columns;
    int64_t c = begin;
    for (; c + kLine <= end; c += kLine) {
      if (kLine * kElement == 64 || c % 64 == 0) {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) __builtin_prefetch(reinterpret_cast<const char*>(w[r] + c) + ahead, 0, 2);
      }
      if constexpr (kVectors > 4) {
        // Unrolled, it would run out of registers.
#pragma GCC unroll 1
        for (int64_t i = c; i < c + kLine; i += Lanes::kWidth) step<Weights, kRows, kVectors>(w, x, i, scales, sums);
      } else {
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLine; i += Lanes::kWidth) step<Weights, kRows, kVectors>(w, x, c + i, scales, sums);
      }
    }
    for (; c + Lanes::kWidth <= end; c += Lanes::kWidth) step<Weights, kRows, kVectors>(w, x, c, scales, sums);
    if (c < end) step<Weights, kRows, kVectors>(w, x, c, scales, sums, end - c);
  }
  for (int v = 0; v < kVectors; ++v)
    for (int r = 0; r < kRows; ++r)
      p.y[(vector + v) * p.y_stride + row + r] = Lanes::sum(sums[r][v]) * (Weights::kRowScale ? p.scales[row + r] : 1.0f);
}

// Rows of a block: what the registers hold beside the weights.
constexpr int rows_for(int vectors) {
  constexpr bool kMany = Lanes::kRegisters == 32;
  if (vectors <= 1) return 8;
  if (vectors <= 3) return kMany ? 8 : 4;
  if (vectors <= 4) return kMany ? 4 : 2;
  return kMany ? 3 : 1;
}

template <typename Weights, int kVectors>
void rows_of(const DenseProduct& p, int64_t row, int rows, int64_t vector) {
  constexpr int kRows = rows_for(kVectors);
  if (rows == kRows) return block<Weights, kRows, kVectors>(p, row, vector);
  for (int r = 0; r < rows; ++r) block<Weights, 1, kVectors>(p, row + r, vector);
}

template <typename Weights>
void vectors_of(const DenseProduct& p, int64_t row, int rows, int64_t vector, int64_t count) {
  switch (count) {
    case 1: return rows_of<Weights, 1>(p, row, rows, vector);
    case 2: return rows_of<Weights, 2>(p, row, rows, vector);
    case 3: return rows_of<Weights, 3>(p, row, rows, vector);
    case 4: return rows_of<Weights, 4>(p, row, rows, vector);
    case 5: return rows_of<Weights, 5>(p, row, rows, vector);
    case 6: return rows_of<Weights, 6>(p, row, rows, vector);
    case 7: return rows_of<Weights, 7>(p, row, rows, vector);
    default: return rows_of<Weights, 8>(p, row, rows, vector);
  }
}

// More than eight vectors: the block's weights are read again from the first cache.
template <typename Weights>
void multiply(const DenseProduct& p) {
  const int64_t most = rows_for(static_cast<int>(p.vectors < 8 ? p.vectors : 8));
  for (int64_t row = p.begin; row < p.end; row += most) {
    const int rows = static_cast<int>(row + most < p.end ? most : p.end - row);
    for (int64_t v = 0; v < p.vectors; v += 8) {
      const int64_t count = v + 8 < p.vectors ? 8 : p.vectors - v;
      if (rows_for(static_cast<int>(count)) == most) {
        vectors_of<Weights>(p, row, rows, v, count);
      } else {
        for (int r = 0; r < rows; ++r) vectors_of<Weights>(p, row + r, 1, v, count);
      }
    }
  }
}

}  // namespace
}  // namespace espalier
