#include "espalier/io/tokenizers/byte_level.h"

#include <array>

#include "espalier/io/tokenizers/unicode.h"

namespace espalier::tok {
namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

constexpr char32_t kEnd = 0x144;  // 0x100 + the 68 that do not stand for themselves

struct Tables {
  std::array<std::string, 256> text_of;
  std::array<int, kEnd> byte_of;
  Tables() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t code = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
      append_utf8(text_of[static_cast<size_t>(byte)], code);
      byte_of[code] = byte;
    }
  }
};

const Tables& tables() {
  static const Tables built;
  return built;
}

}  // namespace

std::string byte_level_text(std::string_view bytes) {
  const auto& text_of = tables().text_of;
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (unsigned char byte : bytes) out += text_of[byte];
  return out;
}

void append_byte_level_bytes(std::string& out, std::string_view token) {
  const size_t before = out.size();
  for (size_t at = 0; at < token.size();) {
    const char32_t code = next_char(token, at);
    const int byte = code < kEnd ? tables().byte_of[code] : -1;
    if (byte < 0) {
      out.resize(before);
      out += token;
      return;
    }
    out += static_cast<char>(byte);
  }
}

}  // namespace espalier::tok
