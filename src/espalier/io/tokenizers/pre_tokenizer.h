// The second stage: text to pieces that the model handles one by one. A piece lives only during the call that takes
// it, so a text of any size needs no list of pieces.
#pragma once

#include <memory>
#include <string_view>

#include "espalier/core/json.h"
#include "espalier/io/tokenizers/normalizer.h"

namespace espalier::tok {

struct Piece {
  std::string_view text;  // never empty
  Left left = Left::kInside;
};

class PieceSink {
 public:
  virtual void take(Piece piece) = 0;

 protected:
  ~PieceSink() = default;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void split(Piece piece, PieceSink& sink) const = 0;
};

// nullptr for a JSON null.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& spec, const std::string& where);

// Cuts before each '▁' that follows another character. Where no token contains '▁' behind another character, no token
// can cross such a place, and short pieces are faster than one long one.
std::unique_ptr<PreTokenizer> make_space_symbol_cutter();

}  // namespace espalier::tok
