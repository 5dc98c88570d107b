#include "espalier/engine/jinja/text.h"

#include <utf8proc.h>

#include "espalier/io/tokenizers/unicode.h"

namespace espalier::jinja {
namespace {

// str.isspace: the separators of 1C to 1F, too.
bool is_space(char32_t code) { return (code >= 0x1c && code <= 0x1f) || tok::is_whitespace(code); }

template <typename Fn>
std::string_view strip_while(std::string_view text, Side side, Fn&& drop) {
  while (side != Side::kRight && !text.empty()) {
    size_t at = 0;
    if (!drop(tok::next_char(text, at))) break;
    text.remove_prefix(at);
  }
  while (side != Side::kLeft && !text.empty()) {
    const char32_t last = tok::char_before(text, text.size());
    if (!drop(last)) break;
    text.remove_suffix(last < 0x80 ? 1 : last < 0x800 ? 2 : last < 0x10000 ? 3 : 4);
  }
  return text;
}

template <typename Fn>
bool all_are(std::string_view text, Fn&& good) {
  for (size_t at = 0; at < text.size();)
    if (!good(tok::next_char(text, at))) return false;
  return !text.empty();
}

bool is_letter(char32_t code) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_cased(char32_t code) {
  const auto c = static_cast<utf8proc_int32_t>(code);
  return utf8proc_tolower(c) != c || utf8proc_toupper(c) != c;
}

void append_upper(std::string& out, char32_t code) {
  if (code == 0xdf) out += "SS";
  else tok::append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
}

template <typename Fn>
std::string titled_where(std::string_view text, Fn&& starts) {
  std::string out;
  bool first = true;
  for (size_t at = 0; at < text.size();) {
    const char32_t code = tok::next_char(text, at);
    if (first) tok::append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))));
    else tok::append_lowercase(out, code);
    first = starts(code);
  }
  return out;
}

}  // namespace

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> all;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    tok::next_char(text, at);
    all.emplace_back(text.substr(begin, at - begin));
  }
  return all;
}

int64_t length_of(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

std::string_view strip(std::string_view text, Side side) { return strip_while(text, side, is_space); }

std::string_view strip(std::string_view text, std::string_view set, Side side) {
  std::u32string codes;
  for (size_t at = 0; at < set.size();) codes += tok::next_char(set, at);
  return strip_while(text, side, [&](char32_t code) { return codes.find(code) != std::u32string::npos; });
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator, int64_t most) {
  std::vector<std::string_view> parts;
  for (size_t at; most != 0 && (at = text.find(separator)) != std::string_view::npos; --most) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_right(std::string_view text, std::string_view separator, int64_t most) {
  std::vector<std::string_view> parts;
  for (size_t at; most != 0 && (at = text.rfind(separator)) != std::string_view::npos; --most) {
    parts.insert(parts.begin(), text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  parts.insert(parts.begin(), text);
  return parts;
}

std::vector<std::string_view> split_spaces(std::string_view text, int64_t most) {
  std::vector<std::string_view> parts;
  for (text = strip(text, Side::kLeft); !text.empty(); text = strip(text, Side::kLeft)) {
    size_t end = 0;
    for (size_t at = 0; at < text.size(); end = at)
      if (is_space(tok::next_char(text, at))) break;
    if (most-- == 0) end = text.size();
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of("\n\r\v\f"), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end);
    if (!text.empty()) text.remove_prefix(text.starts_with("\r\n") ? 2 : 1);
  }
  return lines;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to, int64_t most) {
  std::string out;
  if (from.empty()) {  // between all characters
    for (size_t at = 0; most != 0; --most) {
      out += to;
      if (at == text.size()) return out;
      const size_t begin = at;
      tok::next_char(text, at);
      out += text.substr(begin, at - begin);
      if (most == 1) return out += text.substr(at);
    }
    return out += text;
  }
  for (size_t at; most != 0 && (at = text.find(from)) != std::string_view::npos; --most) {
    (out += text.substr(0, at)) += to;
    text.remove_prefix(at + from.size());
  }
  return out += text;
}

std::string upper(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) append_upper(out, tok::next_char(text, at));
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) tok::append_lowercase(out, tok::next_char(text, at));
  return out;
}

std::string capitalized(std::string_view text) {
  return titled_where(text, [](char32_t) { return false; });
}

std::string titled(std::string_view text) {
  return titled_where(text, [](char32_t code) { return !is_cased(code); });
}

std::string titled_after_spaces(std::string_view text) {
  return titled_where(text, [](char32_t code) {
    return is_space(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<';
  });
}

std::string indented(std::string_view text, std::string_view by, bool first, bool blank) {
  std::string whole(text), out;
  whole += '\n';
  bool begin = true;
  for (const std::string_view line : split_lines(whole)) {
    if (!begin) out += '\n';
    if (begin ? first : blank || !line.empty()) out += by;
    out += line;
    begin = false;
  }
  return out;
}

bool all_digits(std::string_view text) {
  return all_are(text, [](char32_t code) {
    return utf8proc_category(static_cast<utf8proc_int32_t>(code)) == UTF8PROC_CATEGORY_ND;
  });
}

bool all_letters(std::string_view text) { return all_are(text, is_letter); }

}  // namespace espalier::jinja
