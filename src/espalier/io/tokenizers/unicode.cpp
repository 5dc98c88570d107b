#include "espalier/io/tokenizers/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "espalier/core/error.h"
#include "espalier/core/json.h"

namespace espalier::tok {
namespace {

utf8proc_category_t category(char32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }

constexpr uint32_t bit(utf8proc_category_t value) { return 1u << value; }
constexpr uint32_t kMarks = bit(UTF8PROC_CATEGORY_MN) | bit(UTF8PROC_CATEGORY_MC) | bit(UTF8PROC_CATEGORY_ME);
constexpr uint32_t kLetters = bit(UTF8PROC_CATEGORY_LU) | bit(UTF8PROC_CATEGORY_LL) | bit(UTF8PROC_CATEGORY_LT) |
                              bit(UTF8PROC_CATEGORY_LM) | bit(UTF8PROC_CATEGORY_LO);
constexpr uint32_t kNumbers = bit(UTF8PROC_CATEGORY_ND) | bit(UTF8PROC_CATEGORY_NL) | bit(UTF8PROC_CATEGORY_NO);
constexpr uint32_t kPunctuation = bit(UTF8PROC_CATEGORY_PC) | bit(UTF8PROC_CATEGORY_PD) | bit(UTF8PROC_CATEGORY_PS) |
                                  bit(UTF8PROC_CATEGORY_PE) | bit(UTF8PROC_CATEGORY_PI) | bit(UTF8PROC_CATEGORY_PF) |
                                  bit(UTF8PROC_CATEGORY_PO);
constexpr uint32_t kControls =
    bit(UTF8PROC_CATEGORY_CC) | bit(UTF8PROC_CATEGORY_CF) | bit(UTF8PROC_CATEGORY_CO) | bit(UTF8PROC_CATEGORY_CS);

bool in(char32_t code, uint32_t categories) { return (bit(category(code)) & categories) != 0; }

// Bytes of the longest start of a well-formed sequence at the front of `bytes`, at least 1.
size_t unfinished_bytes(std::string_view bytes) {
  const auto byte = [&](size_t i) { return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0; };
  const auto within = [](int value, int low, int high) { return value >= low && value <= high; };
  const int lead = byte(0);
  if (!within(lead, 0xe0, 0xf4)) return 1;
  const int low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const int high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (!within(byte(1), low, high)) return 1;
  return lead >= 0xf0 && within(byte(2), 0x80, 0xbf) ? 3 : 2;
}

utf8proc_option_t options_of(NormalForm form) {
  int options = UTF8PROC_STABLE;
  options |= form == NormalForm::kNfc || form == NormalForm::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == NormalForm::kNfkc || form == NormalForm::kNfkd) options |= UTF8PROC_COMPAT;
  return static_cast<utf8proc_option_t>(options);
}

void append_normal_form(std::string& out, std::string_view text, utf8proc_option_t options) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto bytes = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                  static_cast<utf8proc_ssize_t>(text.size()), &mapped, options);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  if (bytes == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  if (bytes < 0) user_error("Unicode normalisation: {}", utf8proc_errmsg(bytes));
  out.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(bytes));
}

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

}  // namespace

char32_t char_before(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return next_char(text, at);
}

void check_growth(size_t bytes, size_t bytes_before, const std::string& what) {
  constexpr size_t kFactor = 64, kAlways = 1 << 20;  // the largest growth of Unicode normalisation is elevenfold
  if (bytes > kAlways && bytes / kFactor > bytes_before)
    user_error("{}: makes {} bytes of text out of {}", what, bytes, bytes_before);
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

std::string lossy_utf8(std::string_view bytes) {
  std::string out;
  for (;;) {
    const size_t valid = valid_utf8_prefix(bytes);
    out += bytes.substr(0, valid);
    bytes.remove_prefix(valid);
    if (bytes.empty()) return out;
    out += "\xef\xbf\xbd";
    bytes.remove_prefix(unfinished_bytes(bytes));
  }
}

bool is_whitespace(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13);
  return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
         code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

bool is_punctuation(char32_t code) {
  if (code < 0x80) {
    return (code >= 33 && code <= 47) || (code >= 58 && code <= 64) || (code >= 91 && code <= 96) ||
           (code >= 123 && code <= 126);
  }
  return in(code, kPunctuation);
}

bool is_numeric(char32_t code) { return in(code, kNumbers); }
bool is_mark(char32_t code) { return in(code, kMarks); }
bool is_nonspacing_mark(char32_t code) { return category(code) == UTF8PROC_CATEGORY_MN; }
bool is_control(char32_t code) { return in(code, kControls); }

bool is_word(char32_t code) {
  constexpr uint32_t kWord =
      kLetters | kMarks | bit(UTF8PROC_CATEGORY_ND) | bit(UTF8PROC_CATEGORY_NL) | bit(UTF8PROC_CATEGORY_PC);
  // Other_Alphabetic beyond the marks: circled and squared letters; then the two joiners.
  return in(code, kWord) || (code >= 0x24b6 && code <= 0x24e9) || (code >= 0x1f130 && code <= 0x1f149) ||
         (code >= 0x1f150 && code <= 0x1f169) || (code >= 0x1f170 && code <= 0x1f189) || code == 0x200c ||
         code == 0x200d;
}

void append_lowercase(std::string& out, char32_t code) {
  if (code == 0x130) {  // the only character whose lower case has two code points
    out += "i\xcc\x87";
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
}

std::string normal_form(std::string_view text, NormalForm form) {
  const auto options = options_of(form);
  std::string out;
  out.reserve(text.size());
  // An ASCII character neither composes with what stands before it nor changes alone, so text may be cut before it:
  // plain stretches are copied, and each other stretch goes through utf8proc with the ASCII character before it.
  for (size_t at = 0; at < text.size();) {
    size_t plain = at;
    while (plain < text.size() && is_ascii(text[plain])) ++plain;
    if (plain == text.size()) {
      out += text.substr(at);
      break;
    }
    const size_t begin = plain > at ? plain - 1 : at;
    out += text.substr(at, begin - at);
    size_t end = plain;
    while (end < text.size() && !is_ascii(text[end])) ++end;
    append_normal_form(out, text.substr(begin, end - begin), options);
    at = end;
  }
  return out;
}

size_t grapheme_end(std::string_view text, size_t at) {
  utf8proc_int32_t state = 0;
  auto previous = static_cast<utf8proc_int32_t>(next_char(text, at));
  while (at < text.size()) {
    size_t after = at;
    const auto code = static_cast<utf8proc_int32_t>(next_char(text, after));
    if (utf8proc_grapheme_break_stateful(previous, code, &state)) break;
    previous = code;
    at = after;
  }
  return at;
}

}  // namespace espalier::tok
