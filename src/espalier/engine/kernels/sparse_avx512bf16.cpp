// VBMI2 expands 16-bit and 8-bit values before they are widened: one expansion for 32 or 64 columns instead of one for 16.
#include "espalier/engine/kernels/sparse_avx512_lanes.h"
#include "espalier/engine/kernels/sparse_loops.h"

namespace espalier::sparse {
namespace {

__m512i load_bits(const void* from) {
  __m512i bits = _mm512_loadu_si512(from);
  asm("" : "+v"(bits));  // as Load<Code::kF32>
  return bits;
}

template <Code kCode>
struct Halves {
  using Element = uint16_t;
  static void expand(uint64_t mask, const uint16_t* from, __m512 (&w)[4]) {
    const __m512i low = _mm512_maskz_expand_epi16(static_cast<__mmask32>(mask), load_bits(from));
    const __m512i high =
        _mm512_maskz_expand_epi16(static_cast<__mmask32>(mask >> 32), load_bits(from + _mm_popcnt_u64(mask & 0xffffffff)));
    w[0] = Load<kCode>::widen(_mm512_castsi512_si256(low));
    w[1] = Load<kCode>::widen(_mm512_extracti64x4_epi64(low, 1));
    w[2] = Load<kCode>::widen(_mm512_castsi512_si256(high));
    w[3] = Load<kCode>::widen(_mm512_extracti64x4_epi64(high, 1));
  }
  static void block(const uint16_t* from, __m512 (&w)[1]) { w[0] = Load<kCode>::at(from); }
};

struct Bytes {
  using Element = int8_t;
  static void expand(uint64_t mask, const int8_t* from, __m512 (&w)[4]) {
    const __m512i bytes = _mm512_maskz_expand_epi8(mask, load_bits(from));
    w[0] = Load<Code::kI8>::widen(_mm512_castsi512_si128(bytes));
    w[1] = Load<Code::kI8>::widen(_mm512_extracti32x4_epi32(bytes, 1));
    w[2] = Load<Code::kI8>::widen(_mm512_extracti32x4_epi32(bytes, 2));
    w[3] = Load<Code::kI8>::widen(_mm512_extracti32x4_epi32(bytes, 3));
  }
  static void block(const int8_t* from, __m512 (&w)[1]) { w[0] = Load<Code::kI8>::at(from); }
};

struct Lanes : Lanes512 {
  template <Code kCode>
  struct Values : Halves<kCode> {};
};
template <>
struct Lanes::Values<Code::kF32> : Lanes512::Values<Code::kF32> {};
template <>
struct Lanes::Values<Code::kI8> : Bytes {};
template <>
struct Lanes::Values<Code::kI8Groups> : Bytes {};

}  // namespace

const Level kAvx512Bf16 = ESP_SPARSE_LEVEL;

}  // namespace espalier::sparse
