// From token texts back to text. Each stage rewrites the list; in the end the list is joined.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier::tok {

using Tokens = std::vector<std::string>;

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void apply(Tokens& tokens) const = 0;
};

// nullptr for a JSON null: then tokens are joined with spaces.
std::unique_ptr<Decoder> make_decoder(const Json& spec, const std::string& where);

}  // namespace espalier::tok
