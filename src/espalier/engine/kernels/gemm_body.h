// GEMM over Lanes, for the level files, each of which includes its lanes_*.h first. An Operation says what a word is:
//   Element, kColumns, Word; Word broadcast(const char*); Word partial(const char*, int64_t columns) (the missing ones 0);
//   Vec add_product(Word weights, Vec words of x, Vec sum);
//   Vec words(const GemmVectors&, int64_t vector, int64_t column): lane i has the columns column + i · kColumns, ….
#pragma once

#include "espalier/engine/kernels/gemm_kernels.h"

namespace espalier {
namespace {

constexpr int64_t kLanes = Lanes::kWidth;
// A tile of 6 rows × kRegistersOfX registers of vectors holds its sums in registers (24 of 32, or 12 of 16).
constexpr int kTileRows = 6, kRegistersOfX = Lanes::kRegisters == 32 ? 4 : 2;
constexpr int64_t kPanel = kRegistersOfX * kLanes;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t padded(int64_t vectors) { return (vectors + kLanes - 1) / kLanes * kLanes; }
inline int64_t words_of(int64_t columns, int64_t per_word) { return (columns + per_word - 1) / per_word; }

// Words [first_word, first_word + count) of lanes [vector, vector + kLanes), at `to`, one word's vectors `width` apart.
template <typename Operation>
void pack_square(const GemmVectors& x, int64_t vector, int64_t first_word, int64_t count, float* to, int64_t width) {
  Lanes::Vec square[kLanes];
#pragma GCC unroll 16
  for (int64_t i = 0; i < kLanes; ++i)
    square[i] = vector + i < x.vectors ? Operation::words(x, vector + i, first_word * Operation::kColumns) : Lanes::zero();
  Lanes::transpose(square);
  for (int64_t i = 0; i < count; ++i) Lanes::store(to + i * width, square[i]);
}

template <typename Operation>
void pack_words(const GemmVectors& x) {
  const int64_t words = words_of(x.columns, Operation::kColumns), all = padded(x.vectors);
  for (int64_t first = 0; first < words; first += kGemmWords) {
    const int64_t count = smaller(kGemmWords, words - first);
    for (int64_t panel = 0; panel < all; panel += kPanel) {
      const int64_t width = smaller(kPanel, all - panel);
      float* to = reinterpret_cast<float*>(x.packed) + first * all + panel * count;
      for (int64_t v = 0; v < width; v += kLanes)
        for (int64_t w = 0; w < count; w += kLanes)
          pack_square<Operation>(x, panel + v, first + w, smaller(kLanes, count - w), to + w * width + v, width);
    }
  }
}

struct Tile {
  const char* weights;    // the tile's first word
  int64_t stride;         // bytes between rows
  int64_t words, columns; // whole words; columns of one more, or 0
  const float* x;         // the panel's first word
  float* sums;
  int64_t sums_stride;
  bool first;             // else sums are added to
};

template <typename Operation, int kRows, int kVecs>
inline __attribute__((always_inline)) void add_word(const Tile& t, const float* x, Lanes::Vec (&sums)[kRows][kVecs],
                                                    const typename Operation::Word (&weights)[kRows]) {
  Lanes::Vec words[kVecs];
#pragma GCC unroll 16
  for (int v = 0; v < kVecs; ++v) words[v] = Lanes::load(x + v * kLanes);
  static_cast<void>(t);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) sums[r][v] = Operation::add_product(weights[r], words[v], sums[r][v]);
}

template <typename Operation, int kRows, int kVecs>
void multiply_tile(const Tile& t) {
  Lanes::Vec sums[kRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) sums[r][v] = t.first ? Lanes::zero() : Lanes::load(t.sums + r * t.sums_stride + v * kLanes);
  typename Operation::Word weights[kRows];
  const float* x = t.x;
  const char* at = t.weights;
  for (int64_t w = 0; w < t.words; ++w, x += kVecs * kLanes, at += 4) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) weights[r] = Operation::broadcast(at + r * t.stride);
    add_word<Operation, kRows, kVecs>(t, x, sums, weights);
  }
  if (t.columns > 0) {
    for (int r = 0; r < kRows; ++r) weights[r] = Operation::partial(at + r * t.stride, t.columns);
    add_word<Operation, kRows, kVecs>(t, x, sums, weights);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) Lanes::store(t.sums + r * t.sums_stride + v * kLanes, sums[r][v]);
}

template <typename Operation, int kVecs>
void tile_of_rows(const Tile& t, int64_t rows) {
  switch (rows) {
    case 1: return multiply_tile<Operation, 1, kVecs>(t);
    case 2: return multiply_tile<Operation, 2, kVecs>(t);
    case 3: return multiply_tile<Operation, 3, kVecs>(t);
    case 4: return multiply_tile<Operation, 4, kVecs>(t);
    case 5: return multiply_tile<Operation, 5, kVecs>(t);
    default: return multiply_tile<Operation, kTileRows, kVecs>(t);
  }
}

template <typename Operation>
void tile_of(const Tile& t, int64_t rows, int64_t width) {
  switch (width / kLanes) {
    case 1: return tile_of_rows<Operation, 1>(t, rows);
    case 2: return tile_of_rows<Operation, 2>(t, rows);
    case 3: return tile_of_rows<Operation, kRegistersOfX < 3 ? kRegistersOfX : 3>(t, rows);
    default: return tile_of_rows<Operation, kRegistersOfX>(t, rows);
  }
}

// Rows of sums become columns of y, times each row's scale if there is one.
inline void store_sums(const GemmBlock& b, const float* scales) {
  const int64_t stride = padded(b.vectors.vectors);
  for (int64_t r = 0; r < b.rows; r += kLanes) {
    const int64_t rows = smaller(kLanes, b.rows - r);
    for (int64_t v = 0; v < b.vectors.vectors; v += kLanes) {
      Lanes::Vec square[kLanes];
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) {
        square[i] = i < rows ? Lanes::load(b.sums + (r + i) * stride + v) : Lanes::zero();
        if (scales != nullptr && i < rows) square[i] = Lanes::mul(square[i], Lanes::set1(scales[r + i]));
      }
      Lanes::transpose(square);
      const int64_t vectors = smaller(kLanes, b.vectors.vectors - v);
      for (int64_t i = 0; i < vectors; ++i) Lanes::store(b.y + (v + i) * b.y_stride + r, square[i], rows);
    }
  }
}

template <typename Operation>
void multiply_block(const GemmBlock& b) {
  const int64_t words = words_of(b.columns, Operation::kColumns), all = padded(b.vectors.vectors);
  const int64_t element = static_cast<int64_t>(sizeof(typename Operation::Element));
  for (int64_t first = 0; first < words; first += kGemmWords) {
    const int64_t count = smaller(kGemmWords, words - first), whole = smaller(count, b.columns / Operation::kColumns - first);
    for (int64_t panel = 0; panel < all; panel += kPanel) {
      const float* x = reinterpret_cast<const float*>(b.vectors.packed) + first * all + panel * count;
      for (int64_t r = 0; r < b.rows; r += kTileRows) {
        const char* weights = static_cast<const char*>(b.weights) + (r * b.stride + first * Operation::kColumns) * element;
        const Tile tile{weights, b.stride * element, whole, whole < count ? b.columns % Operation::kColumns : 0, x,
                        b.sums + r * all + panel, all, first == 0};
        tile_of<Operation>(tile, smaller(kTileRows, b.rows - r), smaller(kPanel, all - panel));
      }
    }
  }
  store_sums(b, nullptr);
}

struct Fp32Words {
  using Element = float;
  using Word = Lanes::Vec;
  static constexpr int64_t kColumns = 1;
  static Word broadcast(const char* p) {
    float value;
    __builtin_memcpy(&value, p, 4);
    return Lanes::set1(value);
  }
  static Word partial(const char*, int64_t) { return Lanes::zero(); }  // a word is one column
  static Lanes::Vec add_product(Word w, Lanes::Vec x, Lanes::Vec sum) { return Lanes::fma(w, x, sum); }
  static Lanes::Vec words(const GemmVectors& x, int64_t vector, int64_t column) { return Lanes::load(x.x + vector * x.x_stride + column); }
};

// Weights of dense_body.h as fp32.
template <typename Weights>
void expand(const ExpandRows& e) {
  const int64_t segment = Weights::kGroups ? e.group : e.columns, groups = Weights::kGroups ? (e.columns + segment - 1) / segment : 1;
  for (int64_t r = 0; r < e.rows; ++r) {
    const auto* w = static_cast<const typename Weights::Element*>(e.weights) + r * e.columns;
    float* to = e.target + r * e.stride;
    for (int64_t begin = 0, g = 0; begin < e.columns; begin += segment, ++g) {
      const bool scaled = Weights::kGroups || Weights::kRowScale;
      const Lanes::Vec scale = Lanes::set1(scaled ? e.scales[r * groups + g] : 1.0f);
      const int64_t end = smaller(begin + segment, e.columns);
      for (int64_t c = begin; c < end; c += kLanes) {
        const int64_t n = smaller(kLanes, end - c);
        const Lanes::Vec values = n == kLanes ? Weights::load(w + c) : Weights::load(w + c, n);
        Lanes::store(to + c, scaled ? Lanes::mul(values, scale) : values, n);
      }
    }
  }
}

}  // namespace
}  // namespace espalier
