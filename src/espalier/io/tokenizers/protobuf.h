// The fields of one protobuf message in hostile bytes, one after the other. Lengths are checked against the message.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

#include "espalier/core/byte_reader.h"

namespace espalier::tok {

class ProtoReader {
 public:
  ProtoReader(std::string_view message, const std::string& where) : reader_(std::as_bytes(std::span(message)), where) {}

  // Moves to the next field and reads its value; false at the end.
  bool next() {
    if (reader_.remaining() == 0) return false;
    const uint64_t key = read_varint();
    field_ = key >> 3;
    switch (wire_ = static_cast<int>(key & 7)) {
      case 0:
        number_ = read_varint();
        break;
      case 1:
        number_ = reader_.number<uint64_t>();
        break;
      case 2:
        bytes_ = reader_.text(read_varint());
        break;
      case 5:
        number_ = reader_.number<uint32_t>();
        break;
      default:
        user_error("{}: protobuf wire type {} at byte {}", reader_.where(), wire_, reader_.position());
    }
    return true;
  }

  uint64_t field() const { return field_; }
  int64_t integer() const { return expect(0), static_cast<int64_t>(number_); }
  bool boolean() const { return integer() != 0; }
  float single() const { return expect(5), std::bit_cast<float>(static_cast<uint32_t>(number_)); }
  std::string_view bytes() const { return expect(2), bytes_; }

 private:
  void expect(int wire) const {
    if (wire_ != wire)
      throw UserError(reader_.where(), fmt::format("protobuf field {}", field_), fmt::format("wire type {}", wire),
                      std::to_string(wire_));
  }
  uint64_t read_varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = reader_.number<uint8_t>();
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    user_error("{}: a protobuf number of more than ten bytes at byte {}", reader_.where(), reader_.position());
  }

  ByteReader reader_;
  uint64_t field_ = 0, number_ = 0;
  int wire_ = 0;
  std::string_view bytes_;
};

}  // namespace espalier::tok
