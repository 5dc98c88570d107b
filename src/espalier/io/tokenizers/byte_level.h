// GPT-2's bijection between the 256 bytes and printable characters: a byte that is printable in Latin-1 stands for
// itself, the other 68 follow from U+0100 on.
#pragma once

#include <string>
#include <string_view>

namespace espalier::tok {

std::string byte_level_text(std::string_view bytes);

// Appends the bytes that `token` stands for; text with a character outside the bijection is appended as it is.
void append_byte_level_bytes(std::string& out, std::string_view token);

}  // namespace espalier::tok
