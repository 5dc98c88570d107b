// Writes the fields of one ONNX message in the order of their numbers, as protobuf's own writers do, with the unknown
// fields in between. Fields with their default are left out unless they stood in the file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/onnx/byte_rope.h"
#include "espalier/io/onnx/model.h"

namespace espalier {

class MessageWriter {
 public:
  explicit MessageWriter(const OnnxExtras& extras) : extras_(extras) {}

  // Fields must come with rising numbers. `always` writes the default, too.
  void text(uint32_t field, const std::string& value, bool always = false);
  void integer(uint32_t field, int64_t value, bool always = false);
  void single(uint32_t field, float value, bool always = false);
  void texts(uint32_t field, std::span<const std::string> values);
  void integers(uint32_t field, std::span<const int64_t> values);
  void floats(uint32_t field, std::span<const float> values);
  void bytes(uint32_t field, std::string_view value);  // which outlives the result
  // A list that the specification packs, given in its packed form; wire type of one number.
  void packed(uint32_t field, std::string_view list, int wire);
  void message(uint32_t field, ByteRope&& content);
  template <typename Items, typename Write>
  void messages(uint32_t field, const Items& items, Write write) {
    for (const auto& item : items) message(field, write(item));
  }

  ByteRope finish() &&;

 private:
  void begin(uint32_t field);
  void key(uint32_t field, int wire);
  void varint(uint64_t value);
  bool repacked(uint32_t field) const { return (extras_.repacked >> field & 1) != 0; }

  const OnnxExtras& extras_;
  size_t next_unknown_ = 0;
  uint32_t last_field_ = 0;
  ByteRope out_;
};

}  // namespace espalier
