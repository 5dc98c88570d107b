// VBMI2 expands 16-bit and 8-bit values before they are widened: one expansion for 32 or 64 columns instead of one for 16.
#include "espalier/engine/kernels/lanes_avx512.h"
#include "espalier/engine/kernels/sparse_avx512_lanes.h"
#include "espalier/engine/kernels/sparse_avx512_digits.h"
#include "espalier/engine/kernels/sparse_loops.h"

namespace espalier::sparse {
namespace {

__m512i load_bits(const void* from) {
  __m512i bits = _mm512_loadu_si512(from);
  asm("" : "+v"(bits));  // as Load<Code::kF32>
  return bits;
}

// A bf16 value in the upper half of a word is its fp32 already, in the lower half after a shift: so of 32 columns the even
// ones come first, then the odd ones, without the shuffles of a widening.
struct EvenAndOdd {
  using Element = uint16_t;
  static void expand(uint64_t mask, const uint16_t* from, __m512 (&w)[4]) {
    espalier::Lanes::split_bf16(_mm512_maskz_expand_epi16(static_cast<__mmask32>(mask), load_bits(from)), w[0], w[1]);
    espalier::Lanes::split_bf16(_mm512_maskz_expand_epi16(static_cast<__mmask32>(mask >> 32), load_bits(from + _mm_popcnt_u64(mask & 0xffffffff))),
                                w[2], w[3]);
  }
  static void block(const uint16_t* from, __m512 (&w)[1]) { w[0] = Load<Code::kBF16>::at(from); }
};

struct Halves {
  using Element = uint16_t;
  static void expand(uint64_t mask, const uint16_t* from, __m512 (&w)[4]) {
    const __m512i low = _mm512_maskz_expand_epi16(static_cast<__mmask32>(mask), load_bits(from));
    const __m512i high = _mm512_maskz_expand_epi16(static_cast<__mmask32>(mask >> 32), load_bits(from + _mm_popcnt_u64(mask & 0xffffffff)));
    w[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(low)), w[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(low, 1));
    w[2] = _mm512_cvtph_ps(_mm512_castsi512_si256(high)), w[3] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(high, 1));
  }
  static void block(const uint16_t* from, __m512 (&w)[1]) { w[0] = Load<Code::kF16>::at(from); }
};

using PlainLanes = Lanes512;

struct Lanes : Lanes512 {
  template <Code kCode>
  struct Values : Lanes512::Values<kCode> {};
  template <Code kCode>
  static constexpr bool kArranged = kCode == Code::kBF16;

  static void arrange(const float* x, int64_t count, float* to) { espalier::Lanes::arrange_pairs(x, count, to); }
};
template <>
struct Lanes::Values<Code::kBF16> : EvenAndOdd {};
template <>
struct Lanes::Values<Code::kF16> : Halves {};

void expand_word(uint64_t mask, const uint16_t* from, uint16_t* to) {
  _mm512_storeu_si512(to, _mm512_maskz_expand_epi16(static_cast<__mmask32>(mask), load_bits(from)));
  _mm512_storeu_si512(to + 32, _mm512_maskz_expand_epi16(static_cast<__mmask32>(mask >> 32), load_bits(from + _mm_popcnt_u64(mask & 0xffffffff))));
}
void expand_word(uint64_t mask, const int8_t* from, int8_t* to) { _mm512_storeu_si512(to, _mm512_maskz_expand_epi8(mask, load_bits(from))); }

template <Kind kKind, typename Element>
void expand_codes(const View& view, int64_t row, void* target) {
  auto* to = static_cast<Element*>(target);
  const auto* values = static_cast<const Element*>(view.values);
  if constexpr (kKind == Kind::kBlocks) {
    constexpr int64_t kBlock = 16;
    __builtin_memset(to, 0, static_cast<size_t>(view.columns) * sizeof(Element));
    for (int64_t block = view.offsets[row]; block < view.offsets[row + 1]; ++block)
      __builtin_memcpy(to + view.blocks[block] * kBlock, values + block * kBlock, kBlock * sizeof(Element));
  } else {
    values += kKind == Kind::kBitmap ? view.offsets[row] : row * view.row_values;
    const uint8_t* bits = view.bits + row * view.bit_stride;
    for (int64_t column = 0; column < view.columns; column += 64) {
      const uint64_t mask = Lanes512::mask_at(bits + column / 8);
      __builtin_prefetch(values + 2048 / sizeof(Element), 0, 2);
      expand_word(mask, values, to + column);
      values += _mm_popcnt_u64(mask);
    }
  }
}

}  // namespace

const Level kAvx512Bf16 = {
    {{multiply_rows<Lanes, Kind::kRegular, Code::kF32>, multiply_rows<Lanes, Kind::kRegular, Code::kBF16>,
      multiply_rows<Lanes, Kind::kRegular, Code::kF16>, multiply_digit_rows<Kind::kRegular, Code::kI8>,
      multiply_digit_rows<Kind::kRegular, Code::kI8Groups>},
     {multiply_rows<Lanes, Kind::kRuns, Code::kF32>, multiply_rows<Lanes, Kind::kRuns, Code::kBF16>,
      multiply_rows<Lanes, Kind::kRuns, Code::kF16>, multiply_digit_rows<Kind::kRuns, Code::kI8>,
      multiply_digit_rows<Kind::kRuns, Code::kI8Groups>},
     {multiply_rows<Lanes, Kind::kBitmap, Code::kF32>, multiply_rows<Lanes, Kind::kBitmap, Code::kBF16>,
      multiply_rows<Lanes, Kind::kBitmap, Code::kF16>, multiply_digit_rows<Kind::kBitmap, Code::kI8>,
      multiply_digit_rows<Kind::kBitmap, Code::kI8Groups>},
     ESP_SPARSE_CODES(multiply_rows, Lanes, Kind::kBlocks)},
    ESP_SPARSE_KINDS(expand_row, PlainLanes)};

const ExpandCodes kExpandBF16Codes[kKinds] = {expand_codes<Kind::kRegular, uint16_t>, expand_codes<Kind::kRuns, uint16_t>,
                                              expand_codes<Kind::kBitmap, uint16_t>, expand_codes<Kind::kBlocks, uint16_t>};
const ExpandCodes kExpandI8Codes[kKinds] = {expand_codes<Kind::kRegular, int8_t>, expand_codes<Kind::kRuns, int8_t>,
                                            expand_codes<Kind::kBitmap, int8_t>, expand_codes<Kind::kBlocks, int8_t>};

}  // namespace espalier::sparse
