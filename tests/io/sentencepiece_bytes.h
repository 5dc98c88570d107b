// SentencePiece models written field by field.
#pragma once

#include <cstring>
#include <string>
#include <vector>

namespace espalier::test::spm {

inline std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  return out + static_cast<char>(value);
}

inline std::string number(uint64_t field, int64_t value) {
  return varint(field << 3) + varint(static_cast<uint64_t>(value));
}
inline std::string bytes(uint64_t field, const std::string& value) {
  return varint(field << 3 | 2) + varint(value.size()) + value;
}
inline std::string single(uint64_t field, float value) {
  std::string out = varint(field << 3 | 5);
  char raw[4];
  std::memcpy(raw, &value, 4);
  return out.append(raw, 4);
}

// type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
inline std::string piece(const std::string& text, float score, int type = 1) {
  return bytes(1, bytes(1, text) + single(2, score) + (type == 1 ? "" : number(3, type)));
}

inline std::string head() { return piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3); }

// kind: 1 Unigram, 2 BPE
inline std::string trainer(int kind, const std::string& more = "") { return bytes(2, number(3, kind) + more); }
inline std::string normalizer(const std::string& charsmap, bool dummy_prefix, bool remove_extra, bool escape = true) {
  return bytes(3, bytes(2, charsmap) + number(3, dummy_prefix) + number(4, remove_extra) + number(5, escape));
}

}  // namespace espalier::test::spm
