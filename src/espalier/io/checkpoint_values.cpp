#include "espalier/io/checkpoint_values.h"

#include <algorithm>
#include <cstring>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// Bits is the unsigned type of the format's width. In all formats but E4M3 an exponent of ones means infinity
// (fraction 0) or NaN.
template <typename Bits>
void count_bits(const Tensor& tensor, Bits exponent_mask, Bits fraction_mask, ValueCounts& counts) {
  const bool has_infinity = tensor.dtype() != DType::kF8E4M3;
  for (size_t i = 0; i < static_cast<size_t>(tensor.count()); ++i) {
    Bits bits;
    std::memcpy(&bits, tensor.bytes() + i * sizeof(Bits), sizeof(Bits));
    const Bits exponent = bits & exponent_mask, fraction = bits & fraction_mask;
    if (exponent == exponent_mask && has_infinity) {
      ++(fraction == 0 ? counts.infinite : counts.nan);
    } else if (exponent == exponent_mask && fraction == fraction_mask) {
      ++counts.nan;
    } else if (exponent == 0 && fraction != 0) {
      ++counts.denormal;
    }
    counts.all_zero = counts.all_zero && exponent == 0 && fraction == 0;
  }
}

bool all_bytes_zero(const Tensor& tensor) {
  return std::all_of(tensor.bytes(), tensor.bytes() + tensor.byte_size(),
                     [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

ValueCounts count_values(const Tensor& tensor) {
  ValueCounts counts;
  counts.all_zero = tensor.count() > 0;
  switch (tensor.dtype()) {
    case DType::kF32:
      count_bits<uint32_t>(tensor, 0x7f800000, 0x007fffff, counts);
      break;
    case DType::kF64:
      count_bits<uint64_t>(tensor, 0x7ff0000000000000, 0x000fffffffffffff, counts);
      break;
    case DType::kF16:
      count_bits<uint16_t>(tensor, 0x7c00, 0x03ff, counts);
      break;
    case DType::kBF16:
      count_bits<uint16_t>(tensor, 0x7f80, 0x007f, counts);
      break;
    case DType::kF8E4M3:
      count_bits<uint8_t>(tensor, 0x78, 0x07, counts);
      break;
    case DType::kF8E5M2:
      count_bits<uint8_t>(tensor, 0x7c, 0x03, counts);
      break;
    default:
      counts.all_zero = counts.all_zero && all_bytes_zero(tensor);
  }
  return counts;
}

ValueReport inspect_values(const Checkpoint& checkpoint) {
  ValueReport report;
  auto note = [](std::string& first, const std::string& name) {
    if (first.empty()) first = name;
  };
  for (const std::string& name : checkpoint.names()) {
    const Tensor tensor = checkpoint.tensor(name);
    const ValueCounts counts = count_values(tensor);
    checkpoint.drop_pages(tensor);
    report.nan += counts.nan;
    report.infinite += counts.infinite;
    report.denormal += counts.denormal;
    report.all_zero_tensors += counts.all_zero;
    if (counts.nan + counts.infinite > 0) note(report.first_non_finite, name);
    if (counts.denormal > 0) note(report.first_denormal, name);
    if (counts.all_zero) note(report.first_all_zero, name);
  }
  return report;
}

std::string ValueReport::text() const {
  std::string line;
  auto add = [&](const std::string& part) { line += (line.empty() ? "" : "; ") + part; };
  if (!finite())
    add(fmt::format("{} NaN and {} infinite weights, first in '{}'", nan, infinite, printable(first_non_finite)));
  if (denormal > 0) add(fmt::format("{} denormal weights, first in '{}'", denormal, printable(first_denormal)));
  if (all_zero_tensors > 0)
    add(fmt::format("{} tensors of zeros, first '{}'", all_zero_tensors, printable(first_all_zero)));
  return line;
}

}  // namespace espalier
