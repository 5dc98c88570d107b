// The first stage after the added tokens: text to text.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "espalier/core/json.h"
#include "espalier/io/tokenizers/regex.h"

namespace espalier::tok {

// What stands to the left of a stretch of text.
enum class Left {
  kTextStart,     // nothing: it is the start of the text
  kInside,        // something else of the same text: an added token or an earlier piece
  kContinuation,  // text that was encoded before; nothing may be added or stripped at this end
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string normalize(std::string_view text, Left left) const = 0;
};

// nullptr for a JSON null.
std::unique_ptr<Normalizer> make_normalizer(const Json& spec, const std::string& where);

// A pattern of a file: {"String": …} or {"Regex": …}, under the key "pattern".
Regex make_pattern(const Json& spec, const std::string& where);

// A string that must be one character.
std::string one_character(const Json& spec, const std::string& key, const std::string& where,
                          const std::string& otherwise);

}  // namespace espalier::tok
