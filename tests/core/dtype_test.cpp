#include "espalier/core/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace espalier {
namespace {

static_assert(std::endian::native == std::endian::little, "weights are used as they lie in the file");

// The value of a small floating format, from its definition: (-1)^s 2^(e-bias) (1 + f/2^n), subnormal without the 1.
double defined_value(unsigned bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int fraction = static_cast<int>(bits & ((1u << fraction_bits) - 1));
  const int exponent = static_cast<int>(bits >> fraction_bits & ((1u << exponent_bits) - 1));
  const double sign = bits >> (exponent_bits + fraction_bits) & 1 ? -1 : 1;
  const double step = std::ldexp(1.0, -fraction_bits);
  return sign *
         (exponent == 0 ? std::ldexp(fraction * step, 1 - bias) : std::ldexp(1 + fraction * step, exponent - bias));
}

TEST(DType, AllHalvesHaveTheirDefinedValueAndComeBack) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = f16_to_float(static_cast<uint16_t>(bits));
    const bool special = (bits & 0x7c00) == 0x7c00;
    if (!special) {
      ASSERT_EQ(value, static_cast<float>(defined_value(bits, 5, 10))) << bits;
    } else if ((bits & 0x3ff) == 0) {
      ASSERT_TRUE(std::isinf(value) && std::signbit(value) == (bits >> 15)) << bits;
    } else {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(f16_to_float(float_to_f16(value)))) << bits;
      continue;
    }
    ASSERT_EQ(float_to_f16(value), bits);
  }
}

TEST(DType, AllBFloatsHaveTheirDefinedValueAndComeBack) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = bf16_to_float(static_cast<uint16_t>(bits));
    if ((bits & 0x7f80) != 0x7f80) {
      ASSERT_EQ(value, static_cast<float>(defined_value(bits, 8, 7))) << bits;
    }
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(bf16_to_float(float_to_bf16(value)))) << bits;
    } else {
      ASSERT_EQ(float_to_bf16(value), bits);
    }
  }
}

TEST(DType, AllEightBitFloatsHaveTheirDefinedValueAndComeBack) {
  for (unsigned bits = 0; bits < 256; ++bits) {
    const auto byte = static_cast<uint8_t>(bits);
    const float e4m3 = f8e4m3_to_float(byte), e5m2 = f8e5m2_to_float(byte);
    if ((bits & 0x7f) == 0x7f) {
      ASSERT_TRUE(std::isnan(e4m3));
    } else {
      ASSERT_EQ(e4m3, static_cast<float>(defined_value(bits, 4, 3))) << bits;
      ASSERT_EQ(float_to_f8e4m3(e4m3), bits);
    }
    if ((bits & 0x7c) != 0x7c) {
      ASSERT_EQ(e5m2, static_cast<float>(defined_value(bits, 5, 2))) << bits;
      ASSERT_EQ(float_to_f8e5m2(e5m2), bits);
    } else {
      ASSERT_EQ(std::isinf(e5m2), (bits & 3) == 0) << bits;
    }
  }
}

// Half-way between two neighbours goes to the even one; a little more or less, to the nearer.
template <typename Narrow, typename Widen>
void check_rounding(unsigned largest_finite, Narrow narrow, Widen widen) {
  for (unsigned bits = 0; bits < largest_finite; ++bits) {
    using Bits = decltype(narrow(0.0f));
    const float low = widen(static_cast<Bits>(bits)), high = widen(static_cast<Bits>(bits + 1));
    const float middle = low + (high - low) / 2;  // exact: both have few bits
    ASSERT_EQ(narrow(middle), bits + (bits & 1)) << bits;
    ASSERT_EQ(narrow(std::nextafter(middle, 0.0f)), bits) << bits;
    ASSERT_EQ(narrow(std::nextafter(middle, high)), bits + 1) << bits;
    ASSERT_EQ(narrow(-middle), narrow(middle) | (1u << (8 * sizeof(Bits) - 1))) << bits;
  }
}

TEST(DType, NarrowingRoundsToNearestEven) {
  check_rounding(0x7bff, float_to_f16, f16_to_float);
  check_rounding(0x7e, float_to_f8e4m3, f8e4m3_to_float);
  check_rounding(0x7b, float_to_f8e5m2, f8e5m2_to_float);
  // bf16 shares float's exponent, so its subnormal neighbours have no float in between at the very bottom.
  for (unsigned bits = 0x80; bits < 0x7f7f; ++bits) {
    const float middle = std::bit_cast<float>(bits << 16 | 0x8000u);
    ASSERT_EQ(float_to_bf16(middle), bits + (bits & 1));
    ASSERT_EQ(float_to_bf16(std::bit_cast<float>(bits << 16 | 0x7fffu)), bits);
    ASSERT_EQ(float_to_bf16(std::bit_cast<float>(bits << 16 | 0x8001u)), bits + 1);
  }
}

TEST(DType, ConversionsAtTheExtremes) {
  const float infinity = std::numeric_limits<float>::infinity(), max = std::numeric_limits<float>::max();
  const float tiny = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(float_to_f16(65504.0f), 0x7bff);
  EXPECT_EQ(float_to_f16(65519.99f), 0x7bff);
  EXPECT_EQ(float_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_f16(-max), 0xfc00);
  EXPECT_EQ(float_to_f16(tiny), 0);
  EXPECT_EQ(float_to_f16(-0.0f), 0x8000);
  EXPECT_EQ(float_to_bf16(max), 0x7f80);  // rounds beyond the largest bf16
  EXPECT_EQ(float_to_bf16(-infinity), 0xff80);
  EXPECT_EQ(float_to_bf16(std::bit_cast<float>(0x7f800001u)), 0x7fc0);  // a NaN whose upper half looks infinite
  EXPECT_EQ(float_to_f8e4m3(448.0f), 0x7e);
  EXPECT_EQ(float_to_f8e4m3(464.0f), 0x7e);
  EXPECT_EQ(float_to_f8e4m3(std::nextafter(464.0f, 500.0f)), 0x7f);
  EXPECT_EQ(float_to_f8e4m3(-infinity), 0xff);
  EXPECT_EQ(float_to_f8e5m2(57344.0f), 0x7b);
  EXPECT_EQ(float_to_f8e5m2(61440.0f), 0x7c);
  EXPECT_EQ(float_to_f8e5m2(-max), 0xfc);
  EXPECT_EQ(float_to_f8e5m2(std::numeric_limits<float>::quiet_NaN()) & 0x7f, 0x7e);
}

TEST(DType, NamesAreUniqueAndComeBack) {
  for (DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kI8, DType::kU8, DType::kI32, DType::kI64, DType::kF64,
        DType::kBool, DType::kI16, DType::kU16, DType::kU32, DType::kU64, DType::kF8E4M3, DType::kF8E5M2})
    EXPECT_EQ(dtype_from_name(name_of(dtype)), dtype) << name_of(dtype);
  EXPECT_EQ(name_of(DType::kF8E4M3), "F8_E4M3");
  EXPECT_EQ(size_of(DType::kU16), 2u);
  EXPECT_EQ(size_of(DType::kU64), 8u);
  EXPECT_TRUE(is_floating(DType::kF8E5M2));
  EXPECT_FALSE(is_floating(DType::kBool));
  EXPECT_EQ(dtype_from_name("f32"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
}

template <typename T>
std::vector<float> converted(DType dtype, std::vector<T> values) {
  std::vector<float> result(values.size());
  convert_to_float(dtype, values.data(), result.data(), values.size());
  return result;
}

TEST(DType, IntegersConvertByValue) {
  EXPECT_EQ(converted<int8_t>(DType::kI8, {-128, 127}), (std::vector<float>{-128, 127}));
  EXPECT_EQ(converted<uint8_t>(DType::kU8, {0, 255}), (std::vector<float>{0, 255}));
  EXPECT_EQ(converted<int16_t>(DType::kI16, {-32768, 32767}), (std::vector<float>{-32768, 32767}));
  EXPECT_EQ(converted<uint16_t>(DType::kU16, {65535}), (std::vector<float>{65535}));
  EXPECT_EQ(converted<int32_t>(DType::kI32, {-1, 1 << 24}), (std::vector<float>{-1, 16777216}));
  EXPECT_EQ(converted<uint32_t>(DType::kU32, {1u << 31}), (std::vector<float>{0x1p31f}));
  EXPECT_EQ(converted<int64_t>(DType::kI64, {-(int64_t{1} << 40)}), (std::vector<float>{-0x1p40f}));
  EXPECT_EQ(converted<uint64_t>(DType::kU64, {uint64_t{1} << 63}), (std::vector<float>{0x1p63f}));
  EXPECT_EQ(converted<double>(DType::kF64, {0.5, 1e300})[1], std::numeric_limits<float>::infinity());
  EXPECT_EQ(converted<uint8_t>(DType::kBool, {0, 1}), (std::vector<float>{0, 1}));
}

TEST(DType, ConversionReadsUnalignedBytes) {
  std::vector<unsigned char> bytes{0xff, 0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x20, 0xc0};  // 1 and -2.5 from byte 1 on
  float values[2];
  convert_to_float(DType::kF32, bytes.data() + 1, values, 2);
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], -2.5f);
}

}  // namespace
}  // namespace espalier
