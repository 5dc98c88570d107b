#include "espalier/io/tokenizers/metaspace.h"

#include "espalier/core/choice.h"

namespace espalier::tok {

std::string MetaspaceOptions::mark(Piece piece) const {
  std::string out;
  out.reserve(piece.text.size() + piece.text.size() / 2 + replacement.size());
  const bool wanted =
      prepend == PrependScheme::kAlways || (prepend == PrependScheme::kFirst && piece.left == Left::kTextStart);
  const bool there = piece.text.starts_with(' ') || piece.text.starts_with(replacement);
  if (wanted && !there && piece.left != Left::kContinuation) out = replacement;
  for (char c : piece.text) {
    if (c == ' ') {
      out += replacement;
    } else {
      out += c;
    }
  }
  return out;
}

MetaspaceOptions metaspace_options(const Json& spec, const std::string& where) {
  static constexpr std::pair<const char*, PrependScheme> kNames[] = {
      {"always", PrependScheme::kAlways}, {"first", PrependScheme::kFirst}, {"never", PrependScheme::kNever}};
  MetaspaceOptions options;
  options.replacement = one_character(spec, "replacement", where, options.replacement);
  const bool legacy = json_bool_or(spec, "add_prefix_space", where, true);
  options.prepend = choice_from_name(
      where + ".prepend_scheme", json_string_or(spec, "prepend_scheme", where, legacy ? "always" : "never"), kNames);
  options.split = json_bool_or(spec, "split", where, true);
  return options;
}

}  // namespace espalier::tok
