#pragma once

#include <memory>
#include <string>

#include "espalier/io/tokenizers/model.h"

namespace espalier::tok {

struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string continuing_prefix = "##";
  size_t max_chars = 100;  // longer words are unknown
};

std::unique_ptr<Model> make_word_piece(Vocab vocab, WordPieceOptions options);

}  // namespace espalier::tok
