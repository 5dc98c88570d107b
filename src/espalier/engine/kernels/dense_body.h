// The dense matrix-vector kernels over Lanes, for the level files, each of which includes its lanes_*.h first.
//
// Each (row, vector) has one accumulator, lane i of which adds the columns i, i + width, … in order: so a sum does not
// depend on which rows and vectors are computed together. Four or eight rows at once hide the latency of the additions.
// They lie far apart: a slice of rows is read as so many streams, each going on from row to row, because the hardware
// follows long streams. With neighbouring rows instead, 768 columns of int8 or bf16 came at 40 % of the bandwidth.
#pragma once

#include "espalier/engine/kernels/dense_kernels.h"

namespace espalier {
namespace {

struct Fp32Weights {
  using Element = float;
  static constexpr bool kRowScale = false, kGroups = false, kPairs = false;
  template <typename... Count>
  static Lanes::Vec load(const float* p, Count... n) { return Lanes::load(p, n...); }
};
struct Bf16Weights {
  using Element = uint16_t;
  static constexpr bool kRowScale = false, kGroups = false, kPairs = Lanes::kPairs;
  template <typename... Count>
  static Lanes::Vec load(const uint16_t* p, Count... n) { return Lanes::load_bf16(p, n...); }
};
struct Fp16Weights {
  using Element = uint16_t;
  static constexpr bool kRowScale = false, kGroups = false, kPairs = false;
  template <typename... Count>
  static Lanes::Vec load(const uint16_t* p, Count... n) { return Lanes::load_fp16(p, n...); }
};
struct Int8Rows {
  using Element = int8_t;
  static constexpr bool kRowScale = true, kGroups = false, kPairs = false;
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

// Two widths of bf16 columns: the even ones, then the odd ones, take a shift and a mask where their order takes two widenings
// and two shifts. More rows fit the window in which a core looks ahead: rows of 4096 columns come 1.16 × as fast. x is arranged
// likewise.
template <typename L, int kRows, int kVectors, typename... Count>
inline __attribute__((always_inline)) void step_of_pairs(const uint16_t* const* w, const float* const* x, int64_t c, typename L::Vec (*sums)[kVectors], Count... n) {
  typename L::Vec even[kRows], odd[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) L::load_bf16_pairs(w[r] + c, even[r], odd[r], n...);
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    typename L::Vec first = L::load(x[v] + c), second = L::load(x[v] + c + L::kWidth);
    asm("" : "+v"(first), "+v"(second));
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      sums[r][v] = L::fma(even[r], first, sums[r][v]);
      sums[r][v] = L::fma(odd[r], second, sums[r][v]);
    }
  }
}

// Rows first, first + step, ….
struct Rows {
  int64_t first, step;
  int64_t at(int r) const { return first + r * step; }
};

// How far ahead lines are asked for, into the second cache (asking for the first cache gained nothing): measured.
inline int64_t bytes_ahead(int64_t row_bytes, int64_t element) { return element < 4 && row_bytes <= 4096 ? 1024 : 2048; }

template <typename Weights, int kRows, int kVectors>
void block(const DenseProduct& p, Rows rows, int64_t vector) {
  constexpr int64_t kElement = sizeof(typename Weights::Element), kLine = Weights::kGroups ? 32 : 64 / kElement;
  const int64_t ahead = bytes_ahead(p.columns * kElement, kElement);
  const typename Weights::Element* w[kRows];
  const float* x[kVectors];
  Lanes::Vec sums[kRows][kVectors], scales[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    w[r] = static_cast<const typename Weights::Element*>(p.weights) + rows.at(r) * p.columns;
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[r][v] = Lanes::zero();
  }
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) x[v] = p.x + (vector + v) * p.x_stride;
  const int64_t segment = Weights::kGroups ? p.group : p.columns, groups = Weights::kGroups ? (p.columns + segment - 1) / segment : 1;
  for (int64_t begin = 0, g = 0; begin < p.columns; begin += segment, ++g) {
    if constexpr (Weights::kGroups) {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) scales[r] = Lanes::set1(p.scales[rows.at(r) * groups + g]);
    }
    const int64_t end = begin + segment < p.columns ? begin + segment : p.columns;
    int64_t c = begin;
    for (; c + kLine <= end; c += kLine) {
      if (kLine * kElement == 64 || c % 64 == 0) {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) __builtin_prefetch(reinterpret_cast<const char*>(w[r] + c) + ahead, 0, 2);
      }
      if constexpr (Weights::kPairs) {
        step_of_pairs<Lanes, kRows, kVectors>(w, x, c, sums);
      } else if constexpr (kVectors > 4) {
        // Unrolled, it would run out of registers.
#pragma GCC unroll 1
        for (int64_t i = c; i < c + kLine; i += Lanes::kWidth) step<Weights, kRows, kVectors>(w, x, i, scales, sums);
      } else {
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLine; i += Lanes::kWidth) step<Weights, kRows, kVectors>(w, x, c + i, scales, sums);
      }
    }
    if constexpr (Weights::kPairs) {
      if (c < end) step_of_pairs<Lanes, kRows, kVectors>(w, x, c, sums, end - c);
    } else {
      for (; c + Lanes::kWidth <= end; c += Lanes::kWidth) step<Weights, kRows, kVectors>(w, x, c, scales, sums);
      if (c < end) step<Weights, kRows, kVectors>(w, x, c, scales, sums, end - c);
    }
  }
  for (int v = 0; v < kVectors; ++v)
    for (int r = 0; r < kRows; ++r)
      p.y[(vector + v) * p.y_stride + rows.at(r)] = Lanes::sum(sums[r][v]) * (Weights::kRowScale ? p.scales[rows.at(r)] : 1.0f);
}

// Rows of a block: what the registers hold beside the weights; for one vector 4 or 8, whichever was faster.
constexpr int rows_for(int vectors) {
  constexpr bool kMany = Lanes::kRegisters == 32;
  if (vectors <= 1) return 4;
  if (vectors <= 3) return kMany ? 8 : 4;
  if (vectors <= 4) return kMany ? 4 : 2;
  return kMany ? 3 : 1;
}

// All vectors for one block of rows. More than eight: its weights are read again from the first cache.
template <typename Weights, int kRows>
void all_vectors(const DenseProduct& p, Rows rows) {
  constexpr int kMost = kRows == 8 ? 3 : 8;
  int64_t v = 0;
  for (; v + kMost <= p.vectors; v += kMost) block<Weights, kRows, kMost>(p, rows, v);
  switch (p.vectors - v) {
    case 1: return block<Weights, kRows, 1>(p, rows, v);
    case 2: return block<Weights, kRows, 2>(p, rows, v);
    case 3: return block<Weights, kRows, kMost == 8 ? 3 : 1>(p, rows, v);
    case 4: return block<Weights, kRows, kMost == 8 ? 4 : 1>(p, rows, v);
    case 5: return block<Weights, kRows, kMost == 8 ? 5 : 1>(p, rows, v);
    case 6: return block<Weights, kRows, kMost == 8 ? 6 : 1>(p, rows, v);
    case 7: return block<Weights, kRows, kMost == 8 ? 7 : 1>(p, rows, v);
    default: return;
  }
}

template <typename Weights, int kRows>
void in_streams(const DenseProduct& p) {
  const int64_t length = (p.end - p.begin) / kRows;
  for (int64_t i = 0; i < length; ++i) all_vectors<Weights, kRows>(p, {p.begin + i, length});
  for (int64_t row = p.begin + kRows * length; row < p.end; ++row) all_vectors<Weights, 1>(p, {row, 0});
}

template <typename Weights>
void multiply_as_given(const DenseProduct& p) {
  constexpr int64_t kElement = sizeof(typename Weights::Element);
  if (p.vectors <= 1) {
    const bool long_rows = kElement == 4 || (kElement == 1 && p.columns > 2048);
    return long_rows ? in_streams<Weights, 8>(p) : in_streams<Weights, rows_for(1)>(p);
  }
  if (p.vectors <= 3) return in_streams<Weights, rows_for(3)>(p);
  if (p.vectors <= 4) return in_streams<Weights, rows_for(4)>(p);
  in_streams<Weights, rows_for(8)>(p);
}

template <typename Weights, typename L = Lanes>
void multiply(DenseProduct p) {
  if constexpr (Weights::kPairs) {
    const int64_t stride = (p.columns + 63) / 64 * 64;
    auto* arranged = static_cast<float*>(p.scratch);
    for (int64_t v = 0; v < p.vectors; ++v) L::arrange_pairs(p.x + v * p.x_stride, stride, arranged + v * stride);
    p.x = arranged, p.x_stride = stride;
  }
  multiply_as_given<Weights>(p);
}

}  // namespace
}  // namespace espalier
