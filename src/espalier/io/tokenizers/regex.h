// Regular expressions of tokenizer files, through PCRE2. The files are written for Oniguruma; from_oniguruma() maps
// the differences that occur. Backtracking is bounded: a pattern that explodes ends in a UserError.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace espalier::tok {

// A stretch of text, and whether it is a match or lies between matches.
struct Span {
  size_t begin, end;
  bool match;
};

class Regex {
 public:
  enum class Syntax { kOniguruma, kLiteral };
  // `where` names file and field in errors.
  Regex(std::string_view pattern, Syntax syntax, const std::string& where);

  // The spans of `text` from left to right; together they cover it. An empty match directly after another match is
  // passed over.
  class Cursor {
   public:
    Cursor(const Regex& regex, std::string_view text) : regex_(regex), text_(text) {}
    bool next(Span& span);

   private:
    bool search(Span& match);
    const Regex& regex_;
    std::string_view text_;
    size_t from_ = 0, covered_ = 0, last_end_ = std::string_view::npos;
    Span held_{};
    bool has_held_ = false, done_ = false;
  };
  Cursor spans(std::string_view text) const { return {*this, text}; }

  std::string replace_all(std::string_view text, std::string_view replacement) const;

 private:
  bool find(std::string_view text, size_t from, Span& match) const;
  std::string where_;
  std::shared_ptr<const void> code_;  // pcre2_code
};

// The same pattern in the syntax of PCRE2. UserError where it has no equivalent (class intersections).
std::string from_oniguruma(std::string_view pattern, const std::string& where);

}  // namespace espalier::tok
