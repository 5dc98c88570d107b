#include "espalier/engine/jinja/lexer.h"

#include <algorithm>
#include <cctype>

#include "espalier/core/error.h"
#include "espalier/io/tokenizers/unicode.h"

namespace espalier::jinja {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kSpaces = " \t\n\r\v\f";

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || (c & 0x80); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  Lexer(std::string_view source, Budget& budget) : source_(source), budget_(budget) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text();
    add(Token::kEnd, "");
    return std::move(tokens_);
  }

 private:
  bool starts(std::string_view what) const { return source_.substr(at_).starts_with(what); }
  void add(Token::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void advance(size_t bytes) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_), source_.begin() + static_cast<ptrdiff_t>(at_ + bytes), '\n'));
    if (bytes) line_starting_ = source_[at_ + bytes - 1] == '\n';
    at_ += bytes;
    budget_.line = line_;
  }

  size_t next_tag() const {
    for (size_t i = source_.find('{', at_); i != std::string_view::npos; i = source_.find('{', i + 1))
      if (i + 1 < source_.size() && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    return source_.size();
  }

  // The text up to a tag, without the white space that the tag takes away.
  std::string_view cut(std::string_view text, char kind, char sign) const {
    if (sign == '-') return text.substr(0, text.find_last_not_of(kSpaces) + 1);
    if (kind == '{' || sign == '+') return text;
    const size_t line = text.rfind('\n') + 1;  // npos + 1 = 0
    if (line == 0 && !line_starting_) return text;
    return text.find_first_not_of(" \t\r\v\f", line) == std::string_view::npos ? text.substr(0, line) : text;
  }

  void text() {
    const size_t tag = next_tag();
    std::string_view text = source_.substr(at_, tag - at_);
    if (tag == source_.size()) {
      if (!text.empty()) add(Token::kText, std::string(text));
      return advance(text.size());
    }
    const char kind = source_[tag + 1], after = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
    const char sign = after == '-' || after == '+' ? after : ' ';
    const std::string kept(cut(text, kind, sign));
    if (!kept.empty()) add(Token::kText, kept);
    advance(text.size() + (sign == ' ' ? 2 : 3));
    if (kind == '#') return comment();
    if (kind == '%' && raw()) return;
    add(kind == '{' ? Token::kPrintBegin : Token::kBlockBegin, "");
    inside(kind == '{');
  }

  void comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string_view::npos) budget_.fail("a comment without its end '#}'");
    advance(end - at_ - (end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+') ? 1 : 0));
    close("#}");
  }

  // Behind -}, +} and }: what trim_blocks and the signs take away.
  bool close(std::string_view end) {
    size_t bytes = 0;
    if (starts("-" + std::string(end))) {
      bytes = source_.find_first_not_of(kSpaces, at_ + end.size() + 1);
      bytes = (bytes == std::string_view::npos ? source_.size() : bytes) - at_;
    } else if (end != "}}" && starts("+" + std::string(end))) {
      bytes = end.size() + 1;
    } else if (starts(end)) {
      bytes = end.size();
      if (end != "}}" && at_ + bytes < source_.size() && source_[at_ + bytes] == '\n') ++bytes;
    }
    if (bytes) advance(bytes);
    return bytes > 0;
  }

  bool word(std::string_view expected) {
    const size_t begin = std::min(source_.find_first_not_of(kSpaces, at_), source_.size());
    if (!source_.substr(begin).starts_with(expected)) return false;
    const size_t end = begin + expected.size();
    if (end < source_.size() && is_name(source_[end])) return false;
    advance(std::min(source_.find_first_not_of(kSpaces, end), source_.size()) - at_);
    return true;
  }

  bool raw() {
    if (!word("raw")) return false;
    if (!close("%}")) budget_.fail("'raw' takes nothing");
    for (size_t tag = source_.find("{%", at_); tag != std::string_view::npos; tag = source_.find("{%", tag + 2)) {
      const std::string_view text = source_.substr(at_, tag - at_);
      const size_t before = at_;
      const int line = line_;
      const char after = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
      const std::string kept(cut(text, '%', after == '-' || after == '+' ? after : ' '));
      advance(text.size() + 2 + (after == '-' || after == '+'));
      if (word("endraw") && close("%}")) {
        if (!kept.empty()) add(Token::kText, kept);
        return true;
      }
      at_ = before;
      line_ = line;
    }
    budget_.fail("'raw' without its 'endraw'");
  }

  void inside(bool print) {
    const std::string_view end = print ? "}}" : "%}";
    int open = 0;
    for (;;) {
      const size_t next = source_.find_first_not_of(kSpaces, at_);
      if (next == std::string_view::npos) budget_.fail("a tag without its end '" + std::string(end) + "'");
      advance(next - at_);
      if (open == 0 && close(end)) break;
      token(open);
    }
    add(print ? Token::kPrintEnd : Token::kBlockEnd, "");
  }

  void token(int& open) {
    budget_.step();
    const char c = source_[at_];
    if (c == '"' || c == '\'') return string(c);
    if (is_digit(c)) return number();
    size_t length = 1;
    if (is_name(c)) {
      while (at_ + length < source_.size() && is_name(source_[at_ + length])) ++length;
      add(Token::kName, std::string(source_.substr(at_, length)));
      return advance(length);
    }
    for (const std::string_view two : {"//", "**", "==", "!=", "<=", ">="})
      if (starts(two)) length = 2;
    if (length == 1 && std::string_view("+-*/%~<>=()[]{}.,:|").find(c) == std::string_view::npos)
      budget_.fail("unexpected character '" + printable(source_.substr(at_, 1)) + "'");
    open += c == '(' || c == '[' || c == '{';
    open -= c == ')' || c == ']' || c == '}';
    if (open < 0) budget_.fail(std::string("'") + c + "' without its beginning");
    add(Token::kOperator, std::string(source_.substr(at_, length)));
    advance(length);
  }

  void number() {
    size_t length = 0;
    const auto digits = [&] {
      while (at_ + length < source_.size() && (is_digit(source_[at_ + length]) || source_[at_ + length] == '_')) ++length;
    };
    const auto digit_at = [&](size_t i) { return at_ + i < source_.size() && is_digit(source_[at_ + i]); };
    digits();
    bool is_float = false;
    if (at_ + length < source_.size() && source_[at_ + length] == '.' && digit_at(length + 1)) {
      is_float = true;
      ++length;
      digits();
    }
    if (at_ + length < source_.size() && (source_[at_ + length] | 0x20) == 'e') {
      const bool sign = at_ + length + 1 < source_.size() && std::string_view("+-").find(source_[at_ + length + 1]) != std::string_view::npos;
      if (digit_at(length + 1 + sign)) {
        is_float = true;
        length += 1 + sign;
        digits();
      }
    }
    std::string text(source_.substr(at_, length));
    std::erase(text, '_');
    add(is_float ? Token::kFloat : Token::kInteger, std::move(text));
    advance(length);
  }

  void string(char quote) {
    std::string out;
    const int line = line_;
    for (size_t i = at_ + 1; i < source_.size(); ++i) {
      if (source_[i] == quote) {
        tokens_.push_back({Token::kString, std::move(out), line});
        return advance(i + 1 - at_);
      }
      if (source_[i] == '\\' && i + 1 < source_.size()) i = escape(i + 1, out);
      else out += source_[i];
    }
    budget_.fail("a string without its end");
  }

  // At the character behind the backslash; returns the position of the last one used.
  size_t escape(size_t at, std::string& out) {
    static constexpr std::string_view kFrom = "ntrabfv0\\'\"", kTo = "\n\t\r\a\b\f\v\0\\'\""sv;
    const char c = source_[at];
    if (c == '\n') return at;
    if (const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0) {
      const std::string_view hex = source_.substr(at + 1, digits);
      const bool good = hex.size() == digits && std::all_of(hex.begin(), hex.end(), [](char h) { return std::isxdigit(static_cast<unsigned char>(h)); });
      const unsigned long code = good ? std::stoul(std::string(hex), nullptr, 16) : 0x110000;
      if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) budget_.fail("a string with a wrong escape");
      tok::append_utf8(out, static_cast<char32_t>(code));
      return at + digits;
    }
    const size_t known = kFrom.find(c);
    if (known == std::string_view::npos) (out += '\\') += c;
    else out += kTo[known];
    return at;
  }

  std::string_view source_;
  Budget& budget_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, Budget& budget) { return Lexer(source, budget).run(); }

}  // namespace espalier::jinja
