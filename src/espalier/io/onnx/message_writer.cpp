#include "espalier/io/onnx/message_writer.h"

#include <bit>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/io/protobuf.h"

namespace espalier {
namespace {

std::string varint_bytes(uint64_t value) {
  std::string text;
  for (; value >= 0x80; value >>= 7) text += static_cast<char>((value & 0x7f) | 0x80);
  return text += static_cast<char>(value);
}

size_t number_length(std::string_view list, int wire) {
  if (wire != kVarint) return wire == kFixed64 ? 8 : 4;
  size_t length = 1;
  while ((static_cast<unsigned char>(list[length - 1]) & 0x80) != 0) ++length;
  return length;
}

}  // namespace

void MessageWriter::begin(uint32_t field) {
  ESP_ASSERT(field >= last_field_, "field {} after {}", field, last_field_);
  last_field_ = field;
  const auto& unknown = extras_.unknown;
  for (; next_unknown_ < unknown.size() && unknown[next_unknown_].number < field; ++next_unknown_)
    out_.point(unknown[next_unknown_].bytes.view);
}

void MessageWriter::varint(uint64_t value) { out_.copy(varint_bytes(value)); }

void MessageWriter::key(uint32_t field, int wire) {
  begin(field);
  varint(field << 3 | static_cast<uint32_t>(wire));
}

void MessageWriter::text(uint32_t field, const std::string& value, bool always) {
  if (value.empty() && !always && !extras_.has(field)) return;
  key(field, kBytes);
  varint(value.size());
  out_.copy(value);
}

void MessageWriter::integer(uint32_t field, int64_t value, bool always) {
  if (value == 0 && !always && !extras_.has(field)) return;
  key(field, kVarint);
  varint(static_cast<uint64_t>(value));
}

void MessageWriter::single(uint32_t field, float value, bool always) {
  if (std::bit_cast<uint32_t>(value) == 0 && !always && !extras_.has(field)) return;
  key(field, kFixed32);
  out_.copy({reinterpret_cast<const char*>(&value), sizeof(value)});
}

void MessageWriter::texts(uint32_t field, std::span<const std::string> values) {
  for (const std::string& value : values) text(field, value, true);
}

void MessageWriter::integers(uint32_t field, std::span<const int64_t> values) {
  if (!repacked(field)) {
    for (int64_t value : values) integer(field, value, true);
    return;
  }
  std::string list;
  for (int64_t value : values) list += varint_bytes(static_cast<uint64_t>(value));
  if (!list.empty()) text(field, list);
}

void MessageWriter::floats(uint32_t field, std::span<const float> values) {
  if (!repacked(field)) {
    for (float value : values) single(field, value, true);
  } else if (!values.empty()) {
    text(field, {reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  }
}

void MessageWriter::bytes(uint32_t field, std::string_view value) {
  key(field, kBytes);
  varint(value.size());
  out_.point(value);
}

void MessageWriter::packed(uint32_t field, std::string_view list, int wire) {
  if (!repacked(field)) return bytes(field, list);
  while (!list.empty()) {
    const size_t length = number_length(list, wire);
    key(field, wire);
    out_.copy(list.substr(0, length));
    list.remove_prefix(length);
  }
}

void MessageWriter::message(uint32_t field, ByteRope&& content) {
  key(field, kBytes);
  varint(content.size());
  out_.append(std::move(content));
}

ByteRope MessageWriter::finish() && {
  begin(UINT32_MAX);
  return std::move(out_);
}

}  // namespace espalier
