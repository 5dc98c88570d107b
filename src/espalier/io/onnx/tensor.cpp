#include "espalier/io/onnx/tensor.h"

#include <cstring>

#include "espalier/core/byte_reader.h"
#include "espalier/core/checked.h"
#include "espalier/core/error.h"
#include "espalier/io/protobuf.h"

namespace espalier {
namespace {

std::string label_of(const OnnxTensor& tensor, const std::string& where) {
  return fmt::format("{}: tensor '{}'", where, printable(tensor.name));
}

const OnnxTypeInfo& type_of(const OnnxTensor& tensor, const std::string& where) {
  const OnnxTypeInfo* info = onnx_type_info(tensor.data_type);
  if (!info)
    throw UserError(label_of(tensor, where), "data_type", "1 (FLOAT) to 28 (FLOAT6E3M2)",
                    std::to_string(static_cast<int32_t>(tensor.data_type)));
  return *info;
}

uint64_t ceil_bytes(uint64_t bits) { return bits / 8 + (bits % 8 != 0); }

// Numbers in a varint list of a tensor, or nullopt where one is too long or the last does not end.
std::optional<uint64_t> varint_count(std::string_view list) {
  constexpr int kMaxVarintBytes = 10;
  uint64_t count = 0;
  int length = 0;
  for (char byte : list) {
    if (++length > kMaxVarintBytes) return std::nullopt;
    if ((static_cast<unsigned char>(byte) & 0x80) != 0) continue;
    ++count;
    length = 0;
  }
  return length == 0 ? std::optional(count) : std::nullopt;
}

// Numbers that a typed list must hold: packed pairs and quadruples are one number each, complex ones two.
uint64_t expected_entries(const OnnxTensor& tensor, const OnnxTypeInfo& type, uint64_t count, uint64_t raw_bytes) {
  const bool is_complex = tensor.data_type == OnnxDataType::kComplex64 || tensor.data_type == OnnxDataType::kComplex128;
  if (is_complex) return count * 2;
  return type.bits == 4 || type.bits == 2 ? raw_bytes : count;
}

std::optional<uint64_t> stored_entries(const OnnxTensor& tensor) {
  const uint64_t bytes = tensor.data.view.size();
  switch (tensor.storage) {
    case OnnxStorage::kFloats:
      return bytes % 4 == 0 ? std::optional(bytes / 4) : std::nullopt;
    case OnnxStorage::kDoubles:
      return bytes % 8 == 0 ? std::optional(bytes / 8) : std::nullopt;
    case OnnxStorage::kStrings:
      return tensor.strings.size();
    default:
      return varint_count(tensor.data.view);
  }
}

void check_raw(const OnnxTensor& tensor, uint64_t bytes, const std::string& where) {
  if (tensor.data.view.size() != bytes)
    throw UserError(
        label_of(tensor, where), std::string(name_of(tensor.storage)),
        fmt::format("{} bytes for {} {}", bytes, describe_onnx_type(tensor.data_type), to_string(tensor.dims)),
        std::to_string(tensor.data.view.size()));
}

void check_typed(const OnnxTensor& tensor, const OnnxTypeInfo& type, uint64_t count, uint64_t bytes,
                 const std::string& where) {
  const std::string label = label_of(tensor, where), field(name_of(tensor.storage));
  if (tensor.storage != type.typed)
    throw UserError(label, "data", fmt::format("{} for {}", name_of(type.typed), type.name), field);
  const uint64_t expected = expected_entries(tensor, type, count, bytes);
  const auto stored = stored_entries(tensor);
  if (stored != expected)
    throw UserError(label, field, fmt::format("{} numbers for {} {}", expected, type.name, to_string(tensor.dims)),
                    stored ? std::to_string(*stored) : "a list that is cut off");
}

struct Range {
  int64_t low;
  uint64_t high;
};

// What may stand in int32_data for an element of so many bytes: writers differ in whether they extend the sign.
Range int32_range(size_t width) { return {-(int64_t{1} << (width * 8 - 1)), (uint64_t{1} << (width * 8)) - 1}; }

OnnxBytes decode_varints(const OnnxTensor& tensor, size_t width, const std::string& where) {
  const std::string label = label_of(tensor, where);
  const Range range = tensor.storage == OnnxStorage::kInt32s    ? int32_range(width)
                      : tensor.storage == OnnxStorage::kUint64s ? Range{0, width == 4 ? UINT32_MAX : UINT64_MAX}
                                                                : Range{INT64_MIN, INT64_MAX};
  const bool is_signed = tensor.storage != OnnxStorage::kUint64s;
  std::string raw;
  raw.reserve(onnx_byte_size(tensor, where));
  for (ByteReader list(std::as_bytes(std::span(tensor.data.view)), label); list.remaining() > 0;) {
    const uint64_t value = read_proto_varint(list);
    const bool negative = is_signed && static_cast<int64_t>(value) < 0;
    if (negative ? static_cast<int64_t>(value) < range.low : value > range.high)
      throw UserError(label, std::string(name_of(tensor.storage)), fmt::format("numbers of {} bytes", width),
                      negative ? std::to_string(static_cast<int64_t>(value)) : std::to_string(value));
    raw.append(reinterpret_cast<const char*>(&value), width);
  }
  return OnnxBytes::own(std::move(raw));
}

// Elements of 4 or 2 bits, lowest bits first, to one byte each.
Tensor widen(const OnnxTensor& tensor, std::string_view raw, int bits) {
  const bool is_signed = tensor.data_type == OnnxDataType::kInt4 || tensor.data_type == OnnxDataType::kInt2;
  Tensor result(is_signed ? DType::kI8 : DType::kU8, tensor.dims);
  const auto values = result.mutable_as<uint8_t>();
  const auto per_byte = static_cast<size_t>(8 / bits);
  const unsigned mask = (1u << bits) - 1, sign = 1u << (bits - 1);
  for (size_t i = 0; i < values.size(); ++i) {
    const unsigned byte = static_cast<unsigned char>(raw[i / per_byte]);
    const unsigned value = byte >> (i % per_byte * static_cast<size_t>(bits)) & mask;
    values[i] = static_cast<uint8_t>(is_signed ? (value ^ sign) - sign : value);
  }
  return result;
}

}  // namespace

uint64_t onnx_element_count(const Shape& dims, const std::string& where, const std::string& field) {
  if (dims.size() > kMaxOnnxRank)
    throw UserError(where, field, fmt::format("at most {} dimensions", kMaxOnnxRank), std::to_string(dims.size()));
  uint64_t count = 1;
  for (int64_t size : dims) {
    if (size < 0) throw UserError(where, field, "sizes of at least 0", to_string(dims));
    const auto product = checked_mul(count, static_cast<uint64_t>(size));
    if (!product || *product > INT64_MAX) throw UserError(where, field, "a product below 2^63", to_string(dims));
    count = *product;
  }
  return count;
}

uint64_t onnx_byte_size(const OnnxTensor& tensor, const std::string& where) {
  const OnnxTypeInfo& type = type_of(tensor, where);
  const std::string label = label_of(tensor, where);
  if (type.bits == 0) throw UserError(label, "data_type", "a type of fixed size", std::string(type.name));
  const uint64_t count = onnx_element_count(tensor.dims, label, "dims");
  const auto bits = checked_mul(count, static_cast<uint64_t>(type.bits));
  if (!bits) throw UserError(label, "dims", "a size below 2^61 bytes", to_string(tensor.dims));
  return ceil_bytes(*bits);
}

void check_onnx_tensor(const OnnxTensor& tensor, const std::string& where) {
  const OnnxTypeInfo& type = type_of(tensor, where);
  const uint64_t count = onnx_element_count(tensor.dims, label_of(tensor, where), "dims");
  const uint64_t bytes = type.bits == 0 ? 0 : onnx_byte_size(tensor, where);
  const bool in_bytes = tensor.storage == OnnxStorage::kRaw || tensor.storage == OnnxStorage::kExternal;
  if (in_bytes && type.bits == 0)
    throw UserError(label_of(tensor, where), "data", "string_data for STRING", std::string(name_of(tensor.storage)));
  if (tensor.storage == OnnxStorage::kExternal && !tensor.data.owner) return;
  if (in_bytes) return check_raw(tensor, bytes, where);
  if (tensor.storage != OnnxStorage::kNone) return check_typed(tensor, type, count, bytes, where);
  if (count > 0) throw UserError(label_of(tensor, where), "data", fmt::format("{} elements", count), "none");
}

OnnxBytes onnx_raw_bytes(const OnnxTensor& tensor, const std::string& where) {
  check_onnx_tensor(tensor, where);
  const OnnxTypeInfo& type = type_of(tensor, where);
  const bool unopened = tensor.storage == OnnxStorage::kExternal && !tensor.data.owner;
  const bool typed_six_bits = type.bits == 6 && tensor.storage == OnnxStorage::kInt32s;
  if (unopened || typed_six_bits || type.bits == 0)
    throw UserError(
        label_of(tensor, where), "data", "elements of fixed size",
        unopened ? "external data that is not opened" : fmt::format("{} in {}", type.name, name_of(tensor.storage)));
  switch (tensor.storage) {
    case OnnxStorage::kInt32s:
    case OnnxStorage::kInt64s:
    case OnnxStorage::kUint64s:
      return decode_varints(tensor, static_cast<size_t>(type.bits < 8 ? 1 : type.bits / 8), where);
    default:
      return tensor.data;
  }
}

Tensor to_tensor(const OnnxTensor& tensor, const std::string& where) {
  const OnnxTypeInfo& type = type_of(tensor, where);
  const bool integer_bits = tensor.data_type == OnnxDataType::kInt4 || tensor.data_type == OnnxDataType::kUint4 ||
                            tensor.data_type == OnnxDataType::kInt2 || tensor.data_type == OnnxDataType::kUint2;
  if (!type.dtype && !integer_bits)
    throw UserError(label_of(tensor, where), "data_type", "a type that espalier computes with", std::string(type.name));
  const OnnxBytes raw = onnx_raw_bytes(tensor, where);
  if (integer_bits) return widen(tensor, raw.view, type.bits);
  const auto* bytes = reinterpret_cast<const std::byte*>(raw.view.data());
  const bool aligned = reinterpret_cast<uintptr_t>(bytes) % size_of(*type.dtype) == 0;
  if (aligned && !raw.view.empty()) return Tensor(*type.dtype, tensor.dims, raw.owner, bytes);
  Tensor copy(*type.dtype, tensor.dims);
  if (!raw.view.empty()) std::memcpy(copy.mutable_bytes(), bytes, copy.byte_size());
  return copy;
}

OnnxTensor onnx_tensor(std::string name, const Tensor& tensor) {
  OnnxTensor result;
  result.name = std::move(name);
  result.data_type = onnx_type_of(tensor.dtype());
  result.dims = tensor.shape();
  result.storage = OnnxStorage::kRaw;
  result.data = {std::make_shared<const Tensor>(tensor),
                 {reinterpret_cast<const char*>(tensor.bytes()), tensor.byte_size()}};
  return result;
}

}  // namespace espalier
