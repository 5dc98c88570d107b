// Little-endian numbers and text from hostile bytes: every read is checked against the end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "espalier/core/error.h"

namespace espalier {

class ByteReader {
 public:
  // `where` names the file in errors.
  ByteReader(std::span<const std::byte> bytes, std::string where, uint64_t position = 0)
      : bytes_(bytes), where_(std::move(where)) {
    seek(position);
  }

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }
  const std::string& where() const { return where_; }

  void seek(uint64_t position) {
    if (position > bytes_.size()) end_reached(position, 0);
    position_ = position;
  }
  void skip(uint64_t count) { text(count); }

  template <typename T>
  T number() {
    static_assert(std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, text(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::string_view text(uint64_t count) {
    if (count > remaining()) end_reached(position_, count);
    const auto* begin = reinterpret_cast<const char*>(bytes_.data()) + position_;
    position_ += count;
    return {begin, static_cast<size_t>(count)};
  }

  // Up to the next '\n', which is consumed and not part of the result; at most max_bytes.
  std::string_view line(uint64_t max_bytes) {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + position_, remaining());
    const size_t length = rest.substr(0, max_bytes + 1).find('\n');
    if (length == std::string_view::npos)
      user_error("{}: no end of line within {} bytes from byte {} on", where_, max_bytes, position_);
    skip(length + 1);
    return rest.substr(0, length);
  }

 private:
  [[noreturn]] void end_reached(uint64_t position, uint64_t count) const {
    user_error("{}: truncated: {} bytes wanted at byte {}, the end is at {}", where_, count, position, bytes_.size());
  }

  std::span<const std::byte> bytes_;
  std::string where_;
  uint64_t position_ = 0;
};

}  // namespace espalier
