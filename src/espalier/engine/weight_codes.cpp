#include "espalier/engine/weight_codes.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr float kLargestInt8 = 127.0f;

// Infinity if a value is none.
float largest_magnitude(std::span<const float> values) {
  float largest = 0.0f;
  bool finite = true;
  for (const float value : values) {
    const float magnitude = std::fabs(value);
    finite &= magnitude <= std::numeric_limits<float>::max();
    largest = magnitude > largest ? magnitude : largest;
  }
  return finite ? largest : std::numeric_limits<float>::infinity();
}

// Half to even, for |value| < 2^22: the sum has no room for a fraction. (std::nearbyint is a call for each weight.)
float round_half_even(float value) {
  constexpr float kNoFraction = 12582912.0f;  // 1.5 · 2^23
  return (value + kNoFraction) - kNoFraction;
}

}  // namespace

WeightCodes::WeightCodes(const Tensor& weight, Precision precision, int64_t group, std::string name)
    : weight_(weight), precision_(precision), group_(group), name_(std::move(name)) {
  if (weight.shape().size() != 2) throw UserError(name_, "shape", "[outputs, inputs]", to_string(weight.shape()));
  if (!is_floating(weight.dtype())) throw UserError(name_, "dtype", "a floating type", std::string(name_of(weight.dtype())));
  if (group != 0 && group != 32 && group != 64 && group != 128)
    throw UserError(name_, "columns that share a scale", "32, 64, 128 or the whole row", std::to_string(group));
  const int64_t columns = weight.dim(1);
  row_.resize(static_cast<size_t>((columns + 63) / 64 * 64));
  if (group_ == 0) group_ = std::max<int64_t>(columns, 1);
  if (precision == Precision::kI8) scales_.resize(static_cast<size_t>(group == 0 ? 1 : (columns + group - 1) / group));
}

void WeightCodes::quantize(int64_t row) {
  const int64_t columns = weight_.dim(1);
  for (size_t i = 0; i < scales_.size(); ++i) {
    const int64_t begin = static_cast<int64_t>(i) * group_, size = std::min(group_, columns - begin);
    const std::span<float> values(row_.data() + begin, static_cast<size_t>(size));
    const float largest = largest_magnitude(values);
    if (!std::isfinite(largest)) throw UserError(name_, fmt::format("row {}", row), "finite numbers", fmt::format("{}", largest));
    const float scale = scales_[i] = largest / kLargestInt8;
    // Numbers too small for a scale become 0.
    for (float& value : values)
      value = scale == 0.0f ? 0.0f : round_half_even(std::clamp(value / scale, -kLargestInt8, kLargestInt8));
  }
}

std::span<const float> WeightCodes::read(int64_t row) {
  const auto columns = static_cast<size_t>(weight_.dim(1));
  const DType from = weight_.dtype(), to = dtype_of(precision_);
  convert_to_float(from, weight_.bytes() + static_cast<size_t>(row) * columns * size_of(from), row_.data(), columns);
  if (precision_ == Precision::kI8) {
    quantize(row);
  } else if (precision_ == Precision::kBF16 && from != to) {
    for (float& value : row_) value = bf16_to_float(float_to_bf16(value));
  } else if (precision_ == Precision::kF16 && from != to) {
    for (float& value : row_) value = f16_to_float(float_to_f16(value));
  }
  return row_;
}

void WeightCodes::write(const float* codes, int64_t count, std::byte* target) const {
  if (precision_ != Precision::kI8) return convert_from_float(dtype_of(precision_), codes, target, static_cast<size_t>(count));
  auto* bytes = reinterpret_cast<int8_t*>(target);
  for (int64_t i = 0; i < count; ++i) bytes[i] = static_cast<int8_t>(codes[i]);
}

}  // namespace espalier
