#include "espalier/io/tokenizers/charsmap.h"

#include "espalier/core/byte_reader.h"
#include "espalier/core/json.h"

namespace espalier::tok {
namespace {

// The parts of a unit, as Darts-clone packs them.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t leaf_value(uint32_t unit) { return unit & 0x7fffffff; }
uint32_t label(uint32_t unit) { return unit & 0x800000ff; }
uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & (1u << 9)) >> 6); }

}  // namespace

Charsmap::Charsmap(std::string_view blob, const std::string& where) {
  ByteReader reader(std::as_bytes(std::span(blob)), where);
  const auto trie_bytes = reader.number<uint32_t>();
  if (trie_bytes % 4 != 0 || trie_bytes > reader.remaining())
    user_error("{}: precompiled_charsmap: a trie of {} bytes in {}", where, trie_bytes, blob.size());
  units_.reserve(trie_bytes / 4);
  for (uint32_t i = 0; i < trie_bytes / 4; ++i) units_.push_back(reader.number<uint32_t>());
  replacements_ = reader.text(reader.remaining());
  if (!is_valid_utf8(replacements_)) user_error("{}: precompiled_charsmap: replacements that are not UTF-8", where);
}

template <typename Visit>
void Charsmap::prefixes(std::string_view text, Visit&& visit) const {
  if (units_.empty()) return;
  uint32_t at = offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (at >= units_.size() || label(units_[at]) != byte) return;
    const uint32_t unit = units_[at];
    at ^= offset(unit);
    if (has_leaf(unit) && at < units_.size() && !visit(i + 1, leaf_value(units_[at]))) return;
  }
}

std::optional<Charsmap::Match> Charsmap::match(size_t bytes, uint32_t value) const {
  if (value >= replacements_.size()) return std::nullopt;
  const std::string_view from = std::string_view(replacements_).substr(value);
  const std::string_view replacement = from.substr(0, from.find('\0'));
  // A hostile index may point into the middle of a character.
  if (!replacement.empty() && (static_cast<unsigned char>(replacement[0]) & 0xc0) == 0x80) return std::nullopt;
  return Match{bytes, replacement};
}

std::optional<Charsmap::Match> Charsmap::longest_prefix(std::string_view text) const {
  std::optional<Match> best;
  prefixes(text, [&](size_t bytes, uint32_t value) {
    best = match(bytes, value);
    return true;
  });
  return best;
}

std::optional<Charsmap::Match> Charsmap::shortest_prefix(std::string_view text) const {
  std::optional<Match> first;
  prefixes(text, [&](size_t bytes, uint32_t value) {
    first = match(bytes, value);
    return false;
  });
  return first;
}

std::string decode_base64(std::string_view text, const std::string& where) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() / 4 * 3 + 3);
  uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) user_error("{}: not base64", where);
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xff);
  }
  return out;
}

}  // namespace espalier::tok
