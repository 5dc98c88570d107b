// The fields of one protobuf message in hostile bytes, one after the other (protobuf's encoding guide: varint, fixed64,
// length-delimited, fixed32). Lengths are checked against the message, groups are refused.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "espalier/core/byte_reader.h"

namespace espalier {

// Wire types.
constexpr int kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

inline uint64_t read_proto_varint(ByteReader& reader) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = reader.number<uint8_t>();
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  user_error("{}: a protobuf number of more than ten bytes at byte {}", reader.where(), reader.position());
}

class ProtoReader {
 public:
  // The message is what lies between `begin` and the end of `bytes`; positions in errors count from the start of
  // `bytes`.
  ProtoReader(std::span<const std::byte> bytes, const std::string& where, uint64_t begin = 0)
      : reader_(bytes, where, begin), start_(reinterpret_cast<const char*>(bytes.data())) {}
  ProtoReader(std::string_view message, const std::string& where)
      : ProtoReader(std::as_bytes(std::span(message)), where) {}

  // Moves to the next field and reads its value; false at the end.
  bool next() {
    if (reader_.remaining() == 0) return false;
    begin_ = reader_.position();
    const uint64_t key = read_proto_varint(reader_);
    field_ = key >> 3;
    if (field_ == 0 || field_ > kMaxField)
      user_error("{}: protobuf field number {} at byte {}", reader_.where(), field_, begin_);
    switch (wire_ = static_cast<int>(key & 7)) {
      case kVarint:
        number_ = read_proto_varint(reader_);
        break;
      case kFixed64:
        number_ = reader_.number<uint64_t>();
        break;
      case kBytes:
        bytes_ = reader_.text(read_proto_varint(reader_));
        break;
      case kFixed32:
        number_ = reader_.number<uint32_t>();
        break;
      default:
        user_error("{}: protobuf wire type {} at byte {}", reader_.where(), wire_, reader_.position());
    }
    return true;
  }

  uint64_t field() const { return field_; }
  int wire() const { return wire_; }
  uint64_t begin() const { return begin_; }  // where the field's key begins
  std::string_view raw() const { return {start_ + begin_, static_cast<size_t>(reader_.position() - begin_)}; }
  int64_t integer() const { return expect(0), static_cast<int64_t>(number_); }
  bool boolean() const { return integer() != 0; }
  float single() const { return expect(5), std::bit_cast<float>(static_cast<uint32_t>(number_)); }
  std::string_view bytes() const { return expect(2), bytes_; }

  void expect(int wire) const {
    if (wire_ != wire)
      throw UserError(reader_.where(), fmt::format("protobuf field {} at byte {}", field_, begin_),
                      fmt::format("wire type {}", wire), std::to_string(wire_));
  }

 private:
  static constexpr uint64_t kMaxField = (1u << 29) - 1;

  ByteReader reader_;
  const char* start_;
  uint64_t begin_ = 0, field_ = 0, number_ = 0;
  int wire_ = 0;
  std::string_view bytes_;
};

}  // namespace espalier
