// The header's JSON is read by events straight into TensorInfo: a document tree of a header of 100 MB would take
// gigabytes, and every value has exactly one place where it may stand.
#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "espalier/core/checked.h"
#include "espalier/core/error.h"
#include "espalier/core/json.h"
#include "espalier/io/safetensors.h"
#include "espalier/io/safetensors_names.h"

namespace espalier {
namespace {

static_assert(std::endian::native == std::endian::little,
              "weights are mapped as they are: little-endian machines only");

constexpr char kMetadataKey[] = "__metadata__";

class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderReader(std::string where) : where_(std::move(where)) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override { unexpected("null"); }
  bool boolean(bool value) override { unexpected(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { unexpected(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { unexpected(printable(text)); }
  bool binary(binary_t&) override { unexpected("binary"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kNumbers || value > INT64_MAX) unexpected(std::to_string(value));
    if (field_ == Field::kShape) {
      if (tensor_.shape.size() == kMaxTensorRank)
        refuse("shape", fmt::format("at most {} axes", kMaxTensorRank), "more");
      tensor_.shape.push_back(static_cast<int64_t>(value));
    } else {
      if (offsets_ == 2) refuse("data_offsets", "two integers", "more");
      (offsets_ == 0 ? tensor_.begin : tensor_.end) = value;
      ++offsets_;
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      if (!header_.metadata.emplace(metadata_key_, value).second)
        user_error("{}: {}: the key '{}' stands twice", where_, kMetadataKey, printable(metadata_key_));
      return true;
    }
    if (place_ != Place::kTensor || field_ != Field::kDType) unexpected(fmt::format("'{}'", printable(value)));
    const auto dtype = dtype_from_name(value);
    if (!dtype) refuse("dtype", "a type that espalier knows (F32, BF16, …)", fmt::format("'{}'", printable(value)));
    tensor_.dtype = *dtype;
    return true;
  }

  bool key(string_t& key) override {
    switch (place_) {
      case Place::kTop:
        begin_entry(key);
        break;
      case Place::kMetadata:
        metadata_key_ = key;
        break;
      default:
        begin_field(key);
    }
    return true;
  }

  bool start_object(size_t) override {
    if (place_ == Place::kStart) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop) {
      place_ = in_metadata_ ? Place::kMetadata : Place::kTensor;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) end_tensor();
    place_ = Place::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::kTensor || field_ == Field::kDType) unexpected("an array");
    place_ = Place::kNumbers;
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    user_error("{}: the header is not valid JSON at its byte {}", where_, position);
  }

 private:
  enum class Place { kStart, kTop, kMetadata, kTensor, kNumbers };
  enum class Field { kDType = 1, kShape = 2, kOffsets = 4 };

  std::string tensor_place() const { return fmt::format("{}: tensor '{}'", where_, printable(tensor_.name)); }

  [[noreturn]] void refuse(const std::string& field, const std::string& expected, const std::string& found) const {
    throw UserError(tensor_place(), field, expected, found);
  }

  // A value of a kind that has no business where it stands.
  [[noreturn]] void unexpected(const std::string& found) const {
    switch (place_) {
      case Place::kStart:
        throw UserError(where_, "header", "a JSON object", found);
      case Place::kMetadata:
        throw UserError(where_, kMetadataKey + (": " + printable(metadata_key_)), "a string", found);
      case Place::kTop:
        if (in_metadata_) throw UserError(where_, kMetadataKey, "an object", found);
        refuse("entry", "an object with dtype, shape and data_offsets", found);
      case Place::kTensor:
        if (field_ == Field::kDType) refuse("dtype", "a string", found);
        refuse(field_ == Field::kShape ? "shape" : "data_offsets", "an array of integers", found);
      case Place::kNumbers:
        break;
    }
    refuse(field_ == Field::kShape ? "shape" : "data_offsets", "integers from 0 to 2^63-1", found);
  }

  void begin_entry(const std::string& key) {
    in_metadata_ = key == kMetadataKey;
    if (in_metadata_) {
      if (std::exchange(metadata_seen_, true)) user_error("{}: {} stands twice", where_, kMetadataKey);
      return;
    }
    if (header_.tensors.size() == kMaxSafetensorsTensors)
      user_error("{}: more than {} tensors in one file", where_, kMaxSafetensorsTensors);
    names_.add(key, where_);
    tensor_ = TensorInfo{};
    tensor_.name = key;
    fields_seen_ = 0;
    offsets_ = 0;
  }

  void begin_field(const std::string& key) {
    if (key == "dtype") {
      field_ = Field::kDType;
    } else if (key == "shape") {
      field_ = Field::kShape;
    } else if (key == "data_offsets") {
      field_ = Field::kOffsets;
    } else {
      refuse("field", "dtype, shape or data_offsets", fmt::format("'{}'", printable(key)));
    }
    if (fields_seen_ & static_cast<int>(field_)) user_error("{}: {} stands twice", tensor_place(), key);
    fields_seen_ |= static_cast<int>(field_);
  }

  void end_tensor() {
    if (fields_seen_ != 7) user_error("{}: dtype, shape or data_offsets is missing", tensor_place());
    if (offsets_ != 2) refuse("data_offsets", "two integers", std::to_string(offsets_));
    if (tensor_.begin > tensor_.end)
      refuse("data_offsets", "begin <= end", fmt::format("[{}, {}]", tensor_.begin, tensor_.end));
    std::optional<uint64_t> bytes = size_of(tensor_.dtype);
    for (int64_t size : tensor_.shape) bytes = bytes ? checked_mul(*bytes, static_cast<uint64_t>(size)) : bytes;
    if (!bytes || *bytes > INT64_MAX) refuse("shape", "a size below 2^63 bytes", to_string(tensor_.shape));
    if (*bytes != tensor_.end - tensor_.begin)
      refuse("data_offsets",
             fmt::format("{} bytes for {} {}", *bytes, name_of(tensor_.dtype), to_string(tensor_.shape)),
             fmt::format("{} bytes", tensor_.end - tensor_.begin));
    header_.tensors.push_back(std::move(tensor_));
  }

  std::string where_;
  SafetensorsHeader header_;
  TensorNames names_;
  Place place_ = Place::kStart;
  Field field_ = Field::kDType;
  bool in_metadata_ = false, metadata_seen_ = false;
  int fields_seen_ = 0, offsets_ = 0;
  std::string metadata_key_;
  TensorInfo tensor_;
};

// The header's text, after the checks of the length before it.
std::string_view header_text(std::span<const std::byte> file, const std::string& where) {
  uint64_t length = 0;
  if (file.size() < sizeof(length))
    throw UserError(where, "safetensors file", "at least 8 bytes", std::to_string(file.size()));
  std::memcpy(&length, file.data(), sizeof(length));
  if (length > kMaxSafetensorsHeaderBytes)
    throw UserError(where, "header length", fmt::format("at most {}", kMaxSafetensorsHeaderBytes),
                    std::to_string(length));
  if (length > file.size() - sizeof(length))
    throw UserError(where, "header length",
                    fmt::format("at most the {} bytes that follow it", file.size() - sizeof(length)),
                    std::to_string(length));
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + sizeof(length), length);
  if (text.empty() || text[0] != '{')
    throw UserError(where, "header", "a JSON object that starts with '{'", fmt::format("'{}'", printable(text, 8)));
  if (!is_valid_utf8(text)) user_error("{}: the header is not valid UTF-8", where);
  // The JSON library takes a NUL for the end of the text and would accept whatever follows it.
  if (const size_t nul = text.find('\0'); nul != text.npos)
    user_error("{}: the header is not valid JSON at its byte {}", where, nul);
  return text;
}

// Sorts by offset and proves that the tensors cover the data part exactly once.
void check_coverage(std::vector<TensorInfo>& tensors, uint64_t data_bytes, const std::string& where) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t covered = 0;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin != covered)
      throw UserError(fmt::format("{}: tensor '{}'", where, printable(tensor.name)),
                      tensor.begin < covered ? "data_offsets overlap another tensor" : "data_offsets leave a hole",
                      fmt::format("begin {}", covered), std::to_string(tensor.begin));
    covered = tensor.end;
  }
  if (covered > data_bytes)
    throw UserError(where, "data part is shorter than the header says (incomplete download?)",
                    fmt::format("{} bytes", covered), std::to_string(data_bytes));
  if (covered < data_bytes)
    throw UserError(where, "bytes follow the last tensor", fmt::format("{} bytes of data", covered),
                    std::to_string(data_bytes));
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& where) {
  const std::string_view text = header_text(file, where);
  HeaderReader reader(where);
  Json::sax_parse(text, &reader);
  SafetensorsHeader header = reader.take();
  header.data_begin = sizeof(uint64_t) + text.size();
  check_coverage(header.tensors, file.size() - header.data_begin, where);
  return header;
}

}  // namespace espalier
