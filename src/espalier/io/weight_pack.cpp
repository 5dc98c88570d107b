#include "espalier/io/weight_pack.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "espalier/core/checked.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr uint64_t kLine = 64;
constexpr int64_t kMostColumns = kBlockColumns * int64_t{65536};

bool has_bits(Layout layout) { return layout == Layout::kNOfM || layout == Layout::kBitmap; }
bool has_offsets(Layout layout) { return layout == Layout::kBitmap || layout == Layout::kBlock16; }

std::string place_of(const std::string& name, const std::string& where) {
  return fmt::format("{}: packed weight '{}'", where, printable(name));
}

// The size in elements of a part with `count` elements, as a file holds it.
uint64_t filled(uint64_t count, DType dtype) {
  const uint64_t in_line = kLine / size_of(dtype);
  return (count + in_line - 1) / in_line * in_line;
}

struct Wanted {
  DType dtype = DType::kF32;
  std::optional<uint64_t> count;  // none: whatever the offsets say
};

Wanted wanted_part(const PackedParts& what, const std::string& part) {
  const auto rows = static_cast<uint64_t>(what.shape[0]), columns = static_cast<uint64_t>(what.shape[1]);
  const WeightForm& form = what.form;
  if (part == "offsets") return {DType::kI64, rows + 1};
  if (part == "scales") return {DType::kF32, rows * static_cast<uint64_t>(scales_in_row(form, what.shape[1]))};
  if (part == "index" && has_bits(form.layout)) return {DType::kU8, rows * static_cast<uint64_t>(bitmap_stride(what.shape[1]))};
  if (part == "index") return {DType::kU16, std::nullopt};
  const DType dtype = dtype_of(form.precision);
  if (form.layout == Layout::kDense) return {dtype, rows * columns};
  if (form.layout != Layout::kNOfM) return {dtype, std::nullopt};
  return {dtype, rows * (columns / static_cast<uint64_t>(form.m) * static_cast<uint64_t>(form.n)) + kValueSlack};
}

void check_shape(const PackedParts& what, const std::string& place) {
  const auto count = what.shape.size() == 2 && what.shape[0] > 0 && what.shape[1] > 0
                         ? checked_mul(static_cast<uint64_t>(what.shape[0]), static_cast<uint64_t>(what.shape[1]) + 64)
                         : std::nullopt;
  if (!count || *count > INT64_MAX / 64) throw UserError(place, "shape", "two sizes [out, in]", to_string(what.shape));
  if (what.form.layout == Layout::kBlock16 && what.shape[1] > kMostColumns)
    throw UserError(place, "shape", fmt::format("at most {} inputs in blocks", kMostColumns), to_string(what.shape));
  if (what.form.layout == Layout::kNOfM && what.shape[1] % what.form.m != 0)
    throw UserError(place, "shape", fmt::format("a multiple of {} inputs", what.form.m), to_string(what.shape));
  if (!is_floating(what.dtype)) throw UserError(place, "dtype", "a floating type", std::string(name_of(what.dtype)));
}

// Whether each of the row's runs has n bits, eight columns at a time; "no" for patterns and rows that this does not suit.
bool runs_are_full(const uint8_t* bits, int64_t columns, const WeightForm& form) {
  if ((form.m != 4 && form.m != 8) || columns % 8 != 0) return false;
  bool full = true;
  for (int64_t i = 0; i < columns / 8; ++i) {
    const unsigned byte = bits[i];
    full &= form.m == 8 ? std::popcount(byte) == form.n : std::popcount(byte & 0xf) == form.n && std::popcount(byte >> 4) == form.n;
  }
  return full;
}

// Of N:M and bitmap: how many values a row stores.
int64_t check_bits(const PackedParts& parts, int64_t row, const std::string& place) {
  const int64_t columns = parts.shape[1], stride = bitmap_stride(columns);
  const uint8_t* bits = parts.index.as<uint8_t>().data() + row * stride;
  int64_t kept = 0, inside = 0;
  for (int64_t i = 0; i < stride; ++i) kept += std::popcount(bits[i]);
  const auto bit = [&](int64_t c) { return bits[c / 8] >> (c % 8) & 1; };
  for (int64_t c = columns; c < stride * 8; ++c) inside += bit(c);
  if (inside != 0) throw UserError(place, fmt::format("row {}", row), "no bit beyond the last column", std::to_string(inside));
  if (parts.form.layout != Layout::kNOfM || runs_are_full(bits, columns, parts.form)) return kept;
  for (int64_t run = 0; run < columns; run += parts.form.m) {
    int64_t in_run = 0;
    for (int64_t c = run; c < run + parts.form.m; ++c) in_run += bit(c);
    if (in_run != parts.form.n)
      throw UserError(place, fmt::format("row {}, columns from {}", row, run), fmt::format("{} stored values", parts.form.n),
                      std::to_string(in_run));
  }
  return kept;
}

// The offsets never fall and end within what is there.
void check_offsets(const PackedParts& parts, const std::string& place) {
  const auto offsets = parts.offsets.as<int64_t>();
  const bool blocks = parts.form.layout == Layout::kBlock16;
  const int64_t room = blocks ? std::min(parts.index.count(), parts.values.count() / kBlockColumns) : parts.values.count() - kValueSlack;
  if (offsets[0] != 0) throw UserError(place, "offsets", "0 first", std::to_string(offsets[0]));
  for (size_t row = 0; row < static_cast<size_t>(parts.shape[0]); ++row)
    if (offsets[row + 1] < offsets[row] || offsets[row + 1] > room)
      throw UserError(place, fmt::format("offset of row {}", row + 1), fmt::format("{} to {}", offsets[row], room),
                      std::to_string(offsets[row + 1]));
}

void check_block_columns(const PackedParts& parts, int64_t row, const std::string& place) {
  const auto offsets = parts.offsets.as<int64_t>();
  const auto index = parts.index.as<uint16_t>();
  const int64_t blocks = (parts.shape[1] + kBlockColumns - 1) / kBlockColumns;
  int64_t before = -1;
  for (int64_t i = offsets[static_cast<size_t>(row)]; i < offsets[static_cast<size_t>(row) + 1]; ++i) {
    const int64_t column = index[static_cast<size_t>(i)];
    if (column <= before || column >= blocks)
      throw UserError(place, fmt::format("row {}: index", row), fmt::format("ascending numbers below {}", blocks), std::to_string(column));
    before = column;
  }
}

struct Row {
  const PackedParts& parts;
  int64_t row;
  std::vector<float>& target;
  size_t value_size = size_of(parts.values.dtype());

  void put(int64_t column, int64_t i) const {
    float value = 0;
    convert_to_float(parts.values.dtype(), parts.values.bytes() + static_cast<size_t>(i) * value_size, &value, 1);
    if (parts.form.precision == Precision::kI8) value *= scale(column);
    target[static_cast<size_t>(column)] = value;
  }
  float scale(int64_t column) const {
    const int64_t group = parts.form.group == 0 ? parts.shape[1] : parts.form.group;
    return parts.scales.as<float>()[static_cast<size_t>(row * scales_in_row(parts.form, parts.shape[1]) + column / group)];
  }
  int64_t offset(int64_t of) const { return parts.offsets.as<int64_t>()[static_cast<size_t>(of)]; }
};

void unpack_bits(const Row& row, int64_t next) {
  const int64_t columns = row.parts.shape[1];
  const uint8_t* bits = row.parts.index.as<uint8_t>().data() + row.row * bitmap_stride(columns);
  for (int64_t c = 0; c < columns; ++c)
    if (bits[c / 8] >> (c % 8) & 1) row.put(c, next++);
}

void unpack_blocks(const Row& row) {
  for (int64_t block = row.offset(row.row); block < row.offset(row.row + 1); ++block) {
    const int64_t first = row.parts.index.as<uint16_t>()[static_cast<size_t>(block)] * kBlockColumns;
    const int64_t size = std::min(kBlockColumns, row.parts.shape[1] - first);
    for (int64_t i = 0; i < size; ++i) row.put(first + i, block * kBlockColumns + i);
  }
}

void unpack_row(const Row& row) {
  const int64_t columns = row.parts.shape[1];
  const WeightForm& form = row.parts.form;
  switch (form.layout) {
    case Layout::kDense:
      for (int64_t c = 0; c < columns; ++c) row.put(c, row.row * columns + c);
      return;
    case Layout::kNOfM: return unpack_bits(row, row.row * (columns / form.m * form.n));
    case Layout::kBitmap: return unpack_bits(row, row.offset(row.row));
    case Layout::kBlock16: return unpack_blocks(row);
  }
}

}  // namespace

std::vector<std::string> part_names(const WeightForm& form) {
  std::vector<std::string> names = {"values"};
  if (form.layout != Layout::kDense) names.emplace_back("index");
  if (has_offsets(form.layout)) names.emplace_back("offsets");
  if (form.precision == Precision::kI8) names.emplace_back("scales");
  return names;
}

Tensor& part_of(PackedParts& parts, const std::string& name) {
  if (name == "values") return parts.values;
  if (name == "index") return parts.index;
  if (name == "offsets") return parts.offsets;
  ESP_ASSERT(name == "scales", "part {}", name);
  return parts.scales;
}

Tensor filled_up(const Tensor& part) {
  Tensor flat(part.dtype(), {static_cast<int64_t>(filled(static_cast<uint64_t>(part.count()), part.dtype()))});
  if (part.byte_size() > 0) std::memcpy(flat.mutable_bytes(), part.bytes(), part.byte_size());
  return flat;
}

void check_part_sizes(const PackedParts& what, const std::vector<TensorSpec>& specs, const std::string& name, const std::string& where) {
  const std::string place = place_of(name, where);
  check_shape(what, place);
  const auto names = part_names(what.form);
  ESP_ASSERT(specs.size() == names.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    const Wanted wanted = wanted_part(what, names[i]);
    const auto found = [&] { return fmt::format("{} {}", name_of(specs[i].dtype), to_string(specs[i].shape)); };
    const std::string type(name_of(wanted.dtype));
    if (specs[i].dtype != wanted.dtype || specs[i].shape.size() != 1) throw UserError(place, names[i], type + " in one axis", found());
    const auto count = static_cast<uint64_t>(specs[i].shape[0]);
    if (wanted.count && count != filled(*wanted.count, wanted.dtype))
      throw UserError(place, names[i], fmt::format("{} [{}]", type, filled(*wanted.count, wanted.dtype)), found());
    if (!wanted.count && names[i] == "values" && what.form.layout == Layout::kBitmap && count < kValueSlack)
      throw UserError(place, names[i], fmt::format("at least {}", kValueSlack), found());
  }
}

void check_parts(const PackedParts& parts, const std::string& name, const std::string& where) {
  const std::string place = place_of(name, where);
  if (has_offsets(parts.form.layout)) check_offsets(parts, place);
  for (int64_t row = 0; row < parts.shape[0]; ++row) {
    if (parts.form.layout == Layout::kBlock16) check_block_columns(parts, row, place);
    if (!has_bits(parts.form.layout)) continue;
    const int64_t kept = check_bits(parts, row, place);
    if (parts.form.layout == Layout::kNOfM) continue;
    const auto offsets = parts.offsets.as<int64_t>();
    if (const int64_t said = offsets[static_cast<size_t>(row) + 1] - offsets[static_cast<size_t>(row)]; said != kept)
      throw UserError(place, fmt::format("values of row {}", row), fmt::format("{}, as the offsets say", said), std::to_string(kept));
  }
  if (parts.form.precision != Precision::kI8) return;
  const auto scales = parts.scales.as<float>();
  for (size_t i = 0; i < scales.size(); ++i)
    if (!std::isfinite(scales[i])) throw UserError(place, fmt::format("scale {}", i), "a finite number", fmt::format("{}", scales[i]));
}

Tensor unpack_weight(const PackedParts& parts) {
  Tensor weight(parts.dtype, parts.shape);
  const auto columns = static_cast<size_t>(parts.shape[1]);
  std::vector<float> row(columns);
  for (int64_t r = 0; r < parts.shape[0]; ++r) {
    std::fill(row.begin(), row.end(), 0.0f);
    unpack_row({parts, r, row});
    convert_from_float(parts.dtype, row.data(), weight.mutable_bytes() + static_cast<size_t>(r) * columns * size_of(parts.dtype), columns);
  }
  return weight;
}

}  // namespace espalier
