#include "espalier/io/bitmap_pack.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "espalier/core/checked.h"
#include "espalier/core/error.h"
#include "espalier/core/json.h"

namespace espalier {
namespace {

int64_t bytes_of_row(int64_t columns) { return columns / 8 + (columns % 8 != 0); }

bool is_zero(const std::byte* bytes, size_t size) {
  return std::all_of(bytes, bytes + size, [](std::byte b) { return b == std::byte{0}; });
}

int64_t count_kept(const Tensor& bitmap) {
  int64_t kept = 0;
  for (uint8_t byte : bitmap.as<uint8_t>()) kept += std::popcount(byte);
  return kept;
}

// is_kept(row, column) decides.
template <typename IsKept>
BitmapPacked pack(const Tensor& weight, IsKept is_kept) {
  ESP_ASSERT(weight.shape().size() == 2, "packing a weight of shape {}", to_string(weight.shape()));
  const int64_t rows = weight.dim(0), columns = weight.dim(1), stride = bytes_of_row(columns);
  BitmapPacked packed{Tensor(DType::kU8, {rows, stride}), {}};
  auto bits = packed.bitmap.mutable_as<uint8_t>();
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      if (is_kept(row * columns + column))
        bits[static_cast<size_t>(row * stride + column / 8)] |= static_cast<uint8_t>(1u << (column % 8));

  packed.values = Tensor(weight.dtype(), {count_kept(packed.bitmap)});
  const size_t size = size_of(weight.dtype());
  std::byte* to = packed.values.mutable_bytes();
  for (int64_t i = 0; i < rows * columns; ++i) {
    if (!is_kept(i)) continue;
    std::memcpy(to, weight.bytes() + static_cast<size_t>(i) * size, size);
    to += size;
  }
  return packed;
}

// The bits beyond the last column of each row must be 0, else two files could mean the same weight.
void check_padding(const Tensor& bitmap, int64_t columns, const std::string& name, const std::string& where) {
  if (columns % 8 == 0) return;
  const auto bits = bitmap.as<uint8_t>();
  const auto stride = static_cast<size_t>(bitmap.dim(1));
  for (size_t last = stride - 1; last < bits.size(); last += stride)
    if (bits[last] >> (columns % 8) != 0)
      user_error("{}: '{}': the bitmap keeps columns beyond the last in row {}", where, printable(name), last / stride);
}

template <size_t kSize>
void scatter(std::span<const uint8_t> bits, int64_t rows, int64_t columns, const std::byte* values, std::byte* dense) {
  const auto stride = static_cast<size_t>(bytes_of_row(columns));
  const auto row_bytes = static_cast<size_t>(columns) * kSize;
  if (stride == 0) return;  // the number of rows without columns is not bounded by the file's size
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row)
    for (size_t j = 0; j < stride; ++j)
      for (unsigned byte = bits[row * stride + j]; byte != 0; byte &= byte - 1) {
        const size_t column = 8 * j + static_cast<size_t>(std::countr_zero(byte));
        std::memcpy(dense + row * row_bytes + column * kSize, values, kSize);
        values += kSize;
      }
}

TensorSpec spec_of(const std::string& name, const Tensor& tensor) { return {name, tensor.dtype(), tensor.shape()}; }

}  // namespace

BitmapPacked pack_bitmap(const Tensor& weight) {
  const size_t size = size_of(weight.dtype());
  return pack(weight, [&](int64_t i) { return !is_zero(weight.bytes() + static_cast<size_t>(i) * size, size); });
}

BitmapPacked pack_bitmap(const Tensor& weight, std::span<const uint8_t> keep) {
  ESP_ASSERT(keep.size() == static_cast<size_t>(weight.count()));
  return pack(weight, [&](int64_t i) { return keep[static_cast<size_t>(i)] != 0; });
}

void check_bitmap_parts(const TensorSpec& bitmap, const TensorSpec& values, const Shape& shape, const std::string& name,
                        const std::string& where) {
  const std::string place = fmt::format("{}: packed weight '{}'", where, printable(name));
  const auto count = shape.size() == 2 && shape[0] >= 0 && shape[1] >= 0
                         ? checked_mul(static_cast<uint64_t>(shape[0]), static_cast<uint64_t>(shape[1]))
                         : std::nullopt;
  if (!count || *count > INT64_MAX / sizeof(double))
    throw UserError(place, "shape", "two sizes [out, in]", to_string(shape));
  const Shape expected{shape[0], bytes_of_row(shape[1])};
  if (bitmap.dtype != DType::kU8 || bitmap.shape != expected)
    throw UserError(place, "bitmap", "U8 " + to_string(expected),
                    fmt::format("{} {}", name_of(bitmap.dtype), to_string(bitmap.shape)));
  if (values.shape.size() != 1 || static_cast<uint64_t>(values.shape[0]) > *count)
    throw UserError(place, "values", fmt::format("at most {} in one axis", *count), to_string(values.shape));
}

Tensor unpack_bitmap(const BitmapPacked& packed, const Shape& shape, const std::string& name,
                     const std::string& where) {
  check_bitmap_parts(spec_of("", packed.bitmap), spec_of("", packed.values), shape, name, where);
  check_padding(packed.bitmap, shape[1], name, where);
  if (const int64_t kept = count_kept(packed.bitmap); kept != packed.values.count())
    throw UserError(fmt::format("{}: packed weight '{}'", where, printable(name)), "values",
                    fmt::format("{}, as the bitmap keeps", kept), std::to_string(packed.values.count()));
  Tensor dense(packed.values.dtype(), shape);
  const auto bits = packed.bitmap.as<uint8_t>();
  std::byte* to = dense.mutable_bytes();
  switch (size_of(dense.dtype())) {
    case 1:
      scatter<1>(bits, shape[0], shape[1], packed.values.bytes(), to);
      break;
    case 2:
      scatter<2>(bits, shape[0], shape[1], packed.values.bytes(), to);
      break;
    case 4:
      scatter<4>(bits, shape[0], shape[1], packed.values.bytes(), to);
      break;
    case 8:
      scatter<8>(bits, shape[0], shape[1], packed.values.bytes(), to);
      break;
    default:
      ESP_ASSERT(false, "element size of {}", name_of(dense.dtype()));
  }
  return dense;
}

std::string bitmap_name(const std::string& weight) { return weight + ".bitmap"; }
std::string values_name(const std::string& weight) { return weight + ".values"; }

namespace {

void read_form(const Json& entry, const std::string& place, PackedWeight& weight) {
  const std::string form = json_string(entry, "form", place);
  if (form == "bitmap") return;
  weight.form = parse_weight_form(form, place);
  const std::string dtype = json_string(entry, "dtype", place);
  const auto known = dtype_from_name(dtype);
  if (!known || !is_floating(*known)) throw UserError(place, "dtype", "a floating type", "'" + printable(dtype) + "'");
  weight.dtype = *known;
}

}  // namespace

std::string pack_metadata(const std::vector<PackedWeight>& weights) {
  std::string text = "{";
  for (const PackedWeight& weight : weights) {
    const std::string dtype = weight.form ? fmt::format(",\"dtype\":\"{}\"", name_of(weight.dtype)) : "";
    text += fmt::format("{}{}:{{\"form\":\"{}\",\"shape\":[{}]{}}}", text.size() > 1 ? "," : "", Json(weight.name).dump(),
                        weight.form ? to_string(*weight.form) : "bitmap", fmt::join(weight.shape, ","), dtype);
  }
  return text + "}";
}

std::vector<PackedWeight> parse_pack_metadata(const std::string& text, const std::string& where) {
  const std::string place = fmt::format("{}: metadata {}", where, kPackMetadataKey);
  const Json document = parse_json(text, place);
  if (!document.is_object()) throw UserError(place, "value", "an object", describe(document));
  std::vector<PackedWeight> weights;
  for (const auto& [name, entry] : document.items()) {
    const std::string weight_place = fmt::format("{}: '{}'", place, printable(name));
    if (!entry.is_object()) throw UserError(weight_place, "value", "an object", describe(entry));
    PackedWeight weight{name, {}};
    read_form(entry, weight_place, weight);
    const auto shape = entry.find("shape");
    const bool two = shape != entry.end() && shape->is_array() && shape->size() == 2;
    if (!two) throw UserError(weight_place, "shape", "[out, in]", shape == entry.end() ? "none" : describe(*shape));
    for (const Json& size : *shape) {
      if (!size.is_number_unsigned() || size.get<uint64_t>() > INT64_MAX)
        throw UserError(weight_place, "shape", "two sizes", describe(*shape));
      weight.shape.push_back(size.get<int64_t>());
    }
    weights.push_back(std::move(weight));
  }
  return weights;
}

}  // namespace espalier
