// Metaspace: spaces become a visible symbol, and one may be put in front. Shared by pre-tokenizer and decoder.
#pragma once

#include <string>

#include "espalier/io/tokenizers/pre_tokenizer.h"

namespace espalier::tok {

enum class PrependScheme {
  kAlways,  // every stretch between added tokens
  kFirst,   // only at the start of the text
  kNever,
};

struct MetaspaceOptions {
  std::string replacement = "▁";
  PrependScheme prepend = PrependScheme::kAlways;
  bool split = true;

  // The text of the piece with its spaces replaced.
  std::string mark(Piece piece) const;
};

// Reads replacement, prepend_scheme (before 0.14: add_prefix_space), split.
MetaspaceOptions metaspace_options(const Json& spec, const std::string& where);

}  // namespace espalier::tok
