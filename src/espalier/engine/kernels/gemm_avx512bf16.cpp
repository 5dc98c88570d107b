#include "espalier/engine/kernels/lanes_avx512.h"
// after the lanes
#include "espalier/engine/kernels/gemm_body.h"

#include "espalier/engine/kernels/dot_bytes.h"

namespace espalier {
namespace {

using Vec = Lanes::Vec;

inline int load_word(const char* p) {
  int word;
  __builtin_memcpy(&word, p, 4);
  return word;
}

// Two columns a word; x is rounded to bf16.
struct Bf16Words {
  using Element = uint16_t;
  using Word = __m512bh;
  static constexpr int64_t kColumns = 2;
  static Word broadcast(const char* p) { return reinterpret_cast<__m512bh>(_mm512_set1_epi32(load_word(p))); }
  static Word partial(const char* p, int64_t) {
    uint16_t only;
    __builtin_memcpy(&only, p, 2);
    return reinterpret_cast<__m512bh>(_mm512_set1_epi32(only));
  }
  static Vec add_product(Word w, Vec x, Vec sum) { return _mm512_dpbf16_ps(sum, w, reinterpret_cast<__m512bh>(x)); }
  static Vec words(const GemmVectors& x, int64_t vector, int64_t column) {
    const float* from = x.x + vector * x.x_stride + column;
    return reinterpret_cast<Vec>(_mm512_cvtne2ps_pbh(Lanes::load(from + 16), Lanes::load(from)));
  }
};

// Four columns a word. x becomes whole numbers in ±127 times a scale of its group of columns.
struct Int8Words {
  static constexpr int64_t kColumns = 4;
  static Vec words(const GemmVectors& x, int64_t vector, int64_t column) {
    const float* from = x.x + vector * x.x_stride;
    const int64_t all = padded(x.vectors);
    __m128i parts[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int64_t c = column + 16 * i;
      const float scale = c < x.columns ? x.scales[c / x.group * all + vector] : 0;
      const Vec inverse = Lanes::set1(scale == 0 ? 0.0f : 1.0f / scale);
      parts[i] = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + c), inverse)));
    }
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(parts[0]), parts[1], 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(parts[2]), parts[3], 1);
    return _mm512_castsi512_ps(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
  }
};

void measure_int8(const GemmVectors& x) {
  const int64_t all = padded(x.vectors);
  for (int64_t v = 0; v < all; ++v)
    for (int64_t begin = 0, g = 0; begin < x.columns; begin += x.group, ++g) {
      Vec most = Lanes::zero(), poison = Lanes::zero();
      const int64_t end = v < x.vectors ? smaller(begin + x.group, x.columns) : begin;
      for (int64_t c = begin; c < end; c += kLanes) {
        const Vec values = Lanes::load(x.x + v * x.x_stride + c);
        most = Lanes::max(Lanes::absolute(values), most);
        poison = Lanes::fma(values, Lanes::zero(), poison);
      }
      // What is not finite has no code: its group's scale says so.
      x.scales[g * all + v] = Lanes::most(most) / 127.0f + Lanes::sum(poison);
    }
}

// The kernel multiplies with weights + 128, as its instruction wants one side without signs.
void offset_int8(const GemmVectors& x) {
  const int64_t words = words_of(x.columns, 4), all = padded(x.vectors), group = x.group / 4;
  const __m512i minus = _mm512_set1_epi8(-128), zero = _mm512_setzero_si512();
  for (int64_t first = 0; first < words; first += kGemmWords) {
    const int64_t count = smaller(kGemmWords, words - first);
    for (int64_t v = 0; v < all; v += kLanes) {
      const int64_t panel = v / kPanel * kPanel, width = smaller(kPanel, all - panel);
      const uint32_t* from = x.packed + first * all + panel * count + v - panel;
      for (int64_t w = 0; w < count; w += group) {
        __m512i sum = zero;
        for (int64_t i = w; i < smaller(w + group, count); ++i) sum = _mm512_dpbusd_epi32(sum, minus, _mm512_loadu_si512(from + i * width));
        _mm512_storeu_si512(x.offsets + (first + w) / group * all + v, _mm512_sub_epi32(zero, sum));
      }
    }
  }
}

void pack_int8(const GemmVectors& x) {
  measure_int8(x);
  pack_words<Int8Words>(x);
  offset_int8(x);
}

// One group of columns of a tile.
struct Int8Group {
  const char* weights;
  int64_t stride, words, columns;  // whole words, columns of one more
  const uint32_t* x;
  const int32_t* offsets;
  const float* scales;         // of x, by vector
  const float* weight_scales;  // [kTileRows], weight_scale_stride apart; or null
  int64_t weight_scale_stride;
  float* sums;
  int64_t sums_stride;
  bool first;
};

inline __m512i unsigned_word(int word) { return _mm512_xor_si512(_mm512_set1_epi32(word), _mm512_set1_epi8(-128)); }

inline int partial_word(const char* p, int64_t columns) {
  int word = 0;
  __builtin_memcpy(&word, p, static_cast<size_t>(columns));
  return word;
}

template <int kRows, int kVecs, typename Load>
inline __attribute__((always_inline)) void add_int8_word(const uint32_t* x, __m512i (&sums)[kRows][kVecs], const Load& load) {
  __m512i words[kVecs];
#pragma GCC unroll 16
  for (int v = 0; v < kVecs; ++v) words[v] = _mm512_loadu_si512(x + v * kLanes);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    const __m512i weights = unsigned_word(load(r));
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) add_byte_products(sums[r][v], weights, words[v]);
  }
}

template <int kRows, int kVecs>
void multiply_group(const Int8Group& g) {
  __m512i sums[kRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) sums[r][v] = _mm512_loadu_si512(g.offsets + v * kLanes);
  const uint32_t* x = g.x;
  const char* at = g.weights;
  const int64_t stride = g.stride;
  for (int64_t w = 0; w < g.words; ++w, x += kVecs * kLanes, at += 4)
    add_int8_word<kRows, kVecs>(x, sums, [&](int r) { return load_word(at + r * stride); });
  if (g.columns > 0) add_int8_word<kRows, kVecs>(x, sums, [&](int r) { return partial_word(at + r * stride, g.columns); });
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      float* sum = g.sums + r * g.sums_stride + v * kLanes;
      Vec scale = Lanes::load(g.scales + v * kLanes);
      if (g.weight_scales != nullptr) scale = Lanes::mul(scale, Lanes::set1(g.weight_scales[r * g.weight_scale_stride]));
      Lanes::store(sum, Lanes::fma(_mm512_cvtepi32_ps(sums[r][v]), scale, g.first ? Lanes::zero() : Lanes::load(sum)));
    }
}

template <int kVecs>
void group_of_rows(const Int8Group& g, int64_t rows) {
  switch (rows) {
    case 1: return multiply_group<1, kVecs>(g);
    case 2: return multiply_group<2, kVecs>(g);
    case 3: return multiply_group<3, kVecs>(g);
    case 4: return multiply_group<4, kVecs>(g);
    case 5: return multiply_group<5, kVecs>(g);
    default: return multiply_group<kTileRows, kVecs>(g);
  }
}

void multiply_group_of(const Int8Group& g, int64_t rows, int64_t width) {
  switch (width / kLanes) {
    case 1: return group_of_rows<1>(g, rows);
    case 2: return group_of_rows<2>(g, rows);
    case 3: return group_of_rows<3>(g, rows);
    default: return group_of_rows<4>(g, rows);
  }
}

// All groups of a tile within one pass over a panel.
void multiply_int8_tile(const GemmBlock& b, int64_t row, int64_t panel, int64_t first, int64_t count) {
  const int64_t all = padded(b.vectors.vectors), width = smaller(kPanel, all - panel), group = b.vectors.group / 4;
  const int64_t groups = (b.columns + b.vectors.group - 1) / b.vectors.group;
  const auto* weights = static_cast<const char*>(b.weights) + row * b.stride;
  for (int64_t w = 0; w < count; w += group) {
    const int64_t index = (first + w) / group, left = smaller(b.columns - (first + w) * 4, b.vectors.group);
    Int8Group g;
    g.weights = weights + (first + w) * 4, g.stride = b.stride;
    g.words = left / 4, g.columns = left % 4;
    g.x = b.vectors.packed + first * all + panel * count + w * width;
    g.offsets = b.vectors.offsets + index * all + panel;
    g.scales = b.vectors.scales + index * all + panel;
    g.weight_scales = b.grouped ? b.weight_scales + row * groups + index : nullptr;
    g.weight_scale_stride = groups;
    g.sums = b.sums + row * all + panel;
    g.sums_stride = all;
    g.first = index == 0;
    multiply_group_of(g, smaller(kTileRows, b.rows - row), width);
  }
}

void multiply_int8(const GemmBlock& b) {
  const int64_t words = words_of(b.columns, 4), all = padded(b.vectors.vectors);
  for (int64_t first = 0; first < words; first += kGemmWords)
    for (int64_t panel = 0; panel < all; panel += kPanel)
      for (int64_t row = 0; row < b.rows; row += kTileRows) multiply_int8_tile(b, row, panel, first, smaller(kGemmWords, words - first));
  store_sums(b, b.grouped ? nullptr : b.weight_scales);
}

}  // namespace

const GemmKernels kGemmBf16 = {kLanes, 2, pack_words<Bf16Words>, multiply_block<Bf16Words>};
const GemmKernels kGemmInt8 = {kLanes, 4, pack_int8, multiply_int8};

}  // namespace espalier
