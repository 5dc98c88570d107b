#include "espalier/core/dtype.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "espalier/core/error.h"

namespace espalier {
namespace {

struct Info {
  DType dtype;
  std::string_view name;
  size_t bytes;
  bool floating;
};

constexpr std::array<Info, 15> kInfo{{{DType::kF32, "F32", 4, true},
                                      {DType::kF16, "F16", 2, true},
                                      {DType::kBF16, "BF16", 2, true},
                                      {DType::kI8, "I8", 1, false},
                                      {DType::kU8, "U8", 1, false},
                                      {DType::kI32, "I32", 4, false},
                                      {DType::kI64, "I64", 8, false},
                                      {DType::kF64, "F64", 8, true},
                                      {DType::kBool, "BOOL", 1, false},
                                      {DType::kI16, "I16", 2, false},
                                      {DType::kU16, "U16", 2, false},
                                      {DType::kU32, "U32", 4, false},
                                      {DType::kU64, "U64", 8, false},
                                      {DType::kF8E4M3, "F8_E4M3", 1, true},
                                      {DType::kF8E5M2, "F8_E5M2", 1, true}}};

const Info& info(DType dtype) { return kInfo[static_cast<size_t>(dtype)]; }

template <typename T>
void copy_as_float(const void* source, float* target, size_t count) {
  const auto* bytes = static_cast<const char*>(source);
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
    target[i] = static_cast<float>(value);
  }
}

template <typename Bits>
void widen(const void* source, float* target, size_t count, float (*convert)(Bits)) {
  const auto* bytes = static_cast<const char*>(source);
  for (size_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, bytes + sizeof(Bits) * i, sizeof(Bits));
    target[i] = convert(bits);
  }
}

template <typename Bits>
void narrow(const float* source, void* target, size_t count, Bits (*convert)(float)) {
  auto* bytes = static_cast<char*>(target);
  for (size_t i = 0; i < count; ++i) {
    const Bits bits = convert(source[i]);
    std::memcpy(bytes + sizeof(Bits) * i, &bits, sizeof(Bits));
  }
}

// The exponent and fraction bits of a format with kFraction fraction bits and exponent bias kBias, nearest even, from
// those of a float that does not overflow it.
template <int kFraction, int kBias>
uint32_t round_magnitude(uint32_t magnitude) {
  constexpr int kDropped = 23 - kFraction;
  if (magnitude < (128u - kBias) << 23) {
    // Adding a number whose last bit weighs as much as the target's last subnormal bit makes the FPU round.
    constexpr float kAligner = std::bit_cast<float>((151u - kBias - kFraction) << 23);
    const float shifted = std::bit_cast<float>(magnitude) + kAligner;
    return std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kAligner);
  }
  const uint32_t rounded = magnitude + ((1u << (kDropped - 1)) - 1) + ((magnitude >> kDropped) & 1);
  return (rounded - ((127u - kBias) << 23)) >> kDropped;
}

uint8_t sign_of(float value) { return static_cast<uint8_t>((std::bit_cast<uint32_t>(value) >> 24) & 0x80u); }

}  // namespace

size_t size_of(DType dtype) { return info(dtype).bytes; }
std::string_view name_of(DType dtype) { return info(dtype).name; }
bool is_floating(DType dtype) { return info(dtype).floating; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const auto& entry : kInfo)
    if (entry.name == name) return entry.dtype;
  return std::nullopt;
}

float f16_to_float(uint16_t bits) {
  uint32_t sign = (bits & 0x8000u) << 16;
  uint32_t exponent = (bits >> 10) & 31, fraction = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // subnormal or zero
  return sign ? -magnitude : magnitude;
}

uint16_t float_to_f16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  return static_cast<uint16_t>(sign | round_magnitude<10, 15>(magnitude));
}

float f8e4m3_to_float(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80u) << 24, exponent = (bits >> 3) & 15, fraction = bits & 7u;
  if ((bits & 0x7f) == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 120) << 23 | fraction << 20);
  const float magnitude = static_cast<float>(fraction) * 0x1p-9f;  // subnormal or zero
  return sign ? -magnitude : magnitude;
}

uint8_t float_to_f8e4m3(float value) {
  const uint32_t magnitude = std::bit_cast<uint32_t>(value) & 0x7fffffffu;
  // 464 lies half-way between 448 and what would be 480; the tie goes to 448, everything above is NaN.
  const bool too_large = magnitude > std::bit_cast<uint32_t>(464.0f);
  return static_cast<uint8_t>(sign_of(value) | (too_large ? 0x7fu : round_magnitude<3, 7>(magnitude)));
}

uint8_t float_to_f8e5m2(float value) {
  const uint32_t magnitude = std::bit_cast<uint32_t>(value) & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign_of(value) | 0x7e);
  const bool infinite = magnitude >= std::bit_cast<uint32_t>(61440.0f);  // half-way from 57344 to 65536, to even
  return static_cast<uint8_t>(sign_of(value) | (infinite ? 0x7cu : round_magnitude<2, 15>(magnitude)));
}

void convert_to_float(DType dtype, const void* source, float* target, size_t count) {
  if (count == 0) return;  // empty tensors may have no bytes at all, and memcpy wants none of null
  switch (dtype) {
    case DType::kF32: std::memcpy(target, source, count * 4); return;
    case DType::kF16: widen(source, target, count, f16_to_float); return;
    case DType::kBF16: widen(source, target, count, bf16_to_float); return;
    case DType::kI8: copy_as_float<int8_t>(source, target, count); return;
    case DType::kU8: copy_as_float<uint8_t>(source, target, count); return;
    case DType::kI32: copy_as_float<int32_t>(source, target, count); return;
    case DType::kI64: copy_as_float<int64_t>(source, target, count); return;
    case DType::kF64: copy_as_float<double>(source, target, count); return;
    case DType::kBool: copy_as_float<uint8_t>(source, target, count); return;
    case DType::kI16: copy_as_float<int16_t>(source, target, count); return;
    case DType::kU16: copy_as_float<uint16_t>(source, target, count); return;
    case DType::kU32: copy_as_float<uint32_t>(source, target, count); return;
    case DType::kU64: copy_as_float<uint64_t>(source, target, count); return;
    case DType::kF8E4M3: widen(source, target, count, f8e4m3_to_float); return;
    case DType::kF8E5M2: widen(source, target, count, f8e5m2_to_float); return;
  }
  ESP_ASSERT(false, "unknown dtype");
}

void convert_from_float(DType dtype, const float* source, void* target, size_t count) {
  if (count == 0) return;
  switch (dtype) {
    case DType::kF32: std::memcpy(target, source, count * 4); return;
    case DType::kF16: narrow(source, target, count, float_to_f16); return;
    case DType::kBF16: narrow(source, target, count, float_to_bf16); return;
    case DType::kF8E4M3: narrow(source, target, count, float_to_f8e4m3); return;
    case DType::kF8E5M2: narrow(source, target, count, float_to_f8e5m2); return;
    case DType::kF64: std::copy(source, source + count, static_cast<double*>(target)); return;
    default: ESP_ASSERT(false, "convert_from_float to {}", name_of(dtype));
  }
}

}  // namespace espalier
