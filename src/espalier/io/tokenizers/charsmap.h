// SentencePiece's precompiled_charsmap: a double-array trie (Darts-clone) from character sequences to their
// replacements. Layout: little-endian u32 bytes of the trie, the trie's u32 units, then NUL-terminated replacements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::tok {

class Charsmap {
 public:
  // UserError: lengths that do not fit, replacements that are not UTF-8. Units are checked as they are followed.
  Charsmap(std::string_view blob, const std::string& where);

  struct Match {
    size_t bytes;  // of the text
    std::string_view replacement;
  };
  std::optional<Match> longest_prefix(std::string_view text) const;   // SentencePiece's choice
  std::optional<Match> shortest_prefix(std::string_view text) const;  // that of the library "tokenizers"

 private:
  template <typename Visit>
  void prefixes(std::string_view text, Visit&& visit) const;
  std::optional<Match> match(size_t bytes, uint32_t value) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

std::string decode_base64(std::string_view text, const std::string& where);

}  // namespace espalier::tok
