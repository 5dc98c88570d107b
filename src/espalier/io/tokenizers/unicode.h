// Characters of UTF-8 text for the tokenizers. Every function that takes text expects valid UTF-8 unless it says
// otherwise; positions are bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace espalier::tok {

inline size_t char_bytes(unsigned char lead) { return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4; }

// The code point that starts at byte `at`, which is moved behind it.
inline char32_t next_char(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const size_t bytes = char_bytes(byte(0));
  char32_t code = bytes == 1 ? byte(0) : byte(0) & (0x7f >> bytes);
  for (size_t i = 1; i < bytes; ++i) code = code << 6 | (byte(i) & 0x3f);
  at += bytes;
  return code;
}

// The code point that ends before byte `end`; requires end > 0.
char32_t char_before(std::string_view text, size_t end);

// UserError when `what` made much more text out of little, as only a hostile tokenizer file does.
void check_growth(size_t bytes, size_t bytes_before, const std::string& what);

void append_utf8(std::string& out, char32_t code);

// Any bytes; each longest unfinished sequence or stray byte becomes one U+FFFD.
std::string lossy_utf8(std::string_view bytes);

bool is_whitespace(char32_t code);       // the property White_Space
bool is_punctuation(char32_t code);      // categories P*, and the ASCII symbols that BERT counts as punctuation
bool is_numeric(char32_t code);          // categories N*
bool is_word(char32_t code);             // \w of UTS 18: alphabetic, marks, decimal digits, connectors, joiners
bool is_mark(char32_t code);             // categories M*
bool is_nonspacing_mark(char32_t code);  // category Mn
bool is_control(char32_t code);          // categories C* but for Cn, unassigned

// Full lower case, without regard to the neighbours.
void append_lowercase(std::string& out, char32_t code);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string normal_form(std::string_view text, NormalForm form);

// The end of the extended grapheme cluster that starts at byte `at`.
size_t grapheme_end(std::string_view text, size_t at);

}  // namespace espalier::tok
