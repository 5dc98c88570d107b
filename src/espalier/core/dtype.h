// Element types of tensors and their conversion to fp32.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace espalier {

enum class DType : uint8_t {
  kF32, kF16, kBF16, kI8, kU8, kI32, kI64, kF64, kBool, kI16, kU16, kU32, kU64, kF8E4M3, kF8E5M2
};

size_t size_of(DType dtype);             // bytes of one element
std::string_view name_of(DType dtype);   // safetensors' word: "F32", "BF16", …
std::optional<DType> dtype_from_name(std::string_view safetensors_name);
bool is_floating(DType dtype);

inline float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Round to nearest, ties to even; NaN stays NaN.
inline uint16_t float_to_bf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

float f16_to_float(uint16_t bits);
uint16_t float_to_f16(float value);  // nearest even; overflow becomes infinity, as IEEE 754 says

// The two forms of "FP8 Formats for Deep Learning" (Micikevicius et al., 2022). E5M2 is a shortened f16; E4M3 has no
// infinity, its largest number is 448, and what rounds beyond it becomes NaN.
float f8e4m3_to_float(uint8_t bits);
uint8_t float_to_f8e4m3(float value);
inline float f8e5m2_to_float(uint8_t bits) { return f16_to_float(static_cast<uint16_t>(bits << 8)); }
uint8_t float_to_f8e5m2(float value);

// count elements of dtype at source become fp32 at target; kF64, integers and bool convert by value.
void convert_to_float(DType dtype, const void* source, float* target, size_t count);
// The inverse, for floating types only.
void convert_from_float(DType dtype, const float* source, void* target, size_t count);

}  // namespace espalier
