// Oniguruma to PCRE2. What differs, and is mapped:
//   \s \S  White_Space (PCRE2 adds U+180E);  \w \W  include marks and connectors;  \h \H  hexadecimal digits;
//   \uHHHH;  {,n};  {n,m}+ and {n}?, which repeat the repetition;  a class inside a class, which is a union;
//   && in a class, which is refused.
#include <algorithm>
#include <cctype>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/io/tokenizers/regex.h"

namespace espalier::tok {
namespace {

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string run() {
    while (at_ < in_.size()) {
      if (in_[at_] == '\\') {
        escape();
      } else if (class_depth_ > 0) {
        inside_class();
      } else {
        outside_class();
      }
    }
    return std::move(out_);
  }

 private:
  char peek(size_t ahead) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  void copy(size_t count) {
    out_ += in_.substr(at_, count);
    at_ += count;
  }
  void replace(size_t count, std::string_view with) {
    out_ += with;
    at_ += count;
  }
  [[noreturn]] void refuse(const char* what) const {
    user_error("{}: regular expression '{}': {} at byte {} is not supported", where_, printable(in_), what, at_);
  }

  void escape() {
    const bool in_class = class_depth_ > 0;
    if (!in_class) atom_ = out_.size();
    switch (peek(1)) {
      case 's':
        return replace(2, "\\p{White_Space}");
      case 'S':
        return replace(2, "\\P{White_Space}");
      case 'w':
        return replace(2, in_class ? "\\p{L}\\p{M}\\p{Nd}\\p{Pc}" : "[\\p{L}\\p{M}\\p{Nd}\\p{Pc}]");
      case 'W':
        if (in_class) refuse("\\W inside a class");
        return replace(2, "[^\\p{L}\\p{M}\\p{Nd}\\p{Pc}]");
      case 'h':
        return replace(2, in_class ? "0-9a-fA-F" : "[0-9a-fA-F]");
      case 'H':
        if (in_class) refuse("\\H inside a class");
        return replace(2, "[^0-9a-fA-F]");
      case 'u':
        return hex_escape();
      case 'p':
      case 'P':
      case 'x':
        return copy(peek(2) == '{' ? std::min(in_.find('}', at_), in_.size() - 1) - at_ + 1 : 2);
      default:
        return copy(2);
    }
  }

  void hex_escape() {
    for (size_t i = 2; i < 6; ++i) {
      if (!std::isxdigit(static_cast<unsigned char>(peek(i)))) refuse("\\u without four hexadecimal digits");
    }
    out_ += "\\x{";
    at_ += 2;
    copy(4);
    out_ += '}';
  }

  void outside_class() {
    switch (in_[at_]) {
      case '[':
        return open_class();
      case '{':
        return interval();
      case '(':
        groups_.push_back(out_.size());
        break;
      case ')':
        atom_ = groups_.empty() ? out_.size() : groups_.back();
        if (!groups_.empty()) groups_.pop_back();
        break;
      case '*':
      case '+':
      case '?':
        break;
      default:
        atom_ = out_.size();
    }
    copy(1);
  }

  // {n,m}: a + behind it is no possessive mark but repeats the whole, and so does ? behind {n}.
  void interval() {
    size_t end = at_ + 1;
    while (end < in_.size() && (std::isdigit(static_cast<unsigned char>(in_[end])) || in_[end] == ',')) ++end;
    const std::string_view inner = in_.substr(at_ + 1, end - at_ - 1);
    const bool is_interval =
        end < in_.size() && in_[end] == '}' && inner.find_first_of("0123456789") != std::string_view::npos;
    if (!is_interval) {
      atom_ = out_.size();
      return copy(1);
    }
    if (inner[0] == ',') replace(1, "{0");
    copy(end + 1 - at_);
    const bool repeats = peek(0) == '+' || (peek(0) == '?' && inner.find(',') == std::string_view::npos);
    if (!repeats) return;
    out_.insert(atom_, "(?:");
    out_ += ')';
    copy(1);
  }

  void open_class() {
    atom_ = out_.size();
    class_depth_ = 1;
    copy(peek(1) == '^' ? 2 : 1);
    if (peek(0) == ']') replace(1, "\\]");  // first in a class it stands for itself
  }

  void inside_class() {
    const char c = in_[at_];
    if (c == '[' && peek(1) == ':') {
      const size_t end = in_.find(":]", at_ + 2);
      if (end != std::string_view::npos) return copy(end + 2 - at_);
    }
    if (c == '[') {
      if (peek(1) == '^') refuse("a negated class inside a class");
      ++class_depth_;
      ++at_;
    } else if (c == ']') {
      if (--class_depth_ == 0) return copy(1);
      ++at_;
    } else if (c == '&' && peek(1) == '&') {
      refuse("the class intersection &&");
    } else {
      copy(1);
    }
  }

  std::string_view in_;
  const std::string& where_;
  size_t at_ = 0;
  int class_depth_ = 0;
  size_t atom_ = 0;             // in out_, where what a quantifier would repeat begins
  std::vector<size_t> groups_;  // in out_, the open parentheses
  std::string out_;
};

}  // namespace

std::string from_oniguruma(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace espalier::tok
