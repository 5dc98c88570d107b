// SentencePiece models (tokenizer.model): a protobuf message with pieces, scores and the normaliser's table.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/tokenizers/pipeline.h"

namespace espalier::tok {

enum class PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct SentencePieceModel {
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::kNormal;
  };
  std::vector<Piece> pieces;
  int64_t model_type = 1;  // 1 Unigram, 2 BPE; words (3) and characters (4) are refused
  int64_t unk_id = 0, bos_id = 1, eos_id = 2, pad_id = -1;
  bool byte_fallback = false, space_as_suffix = false;
  std::string charsmap;  // precompiled; may be empty
  bool add_dummy_prefix = true, remove_extra_spaces = true, escape_spaces = true;
};

// UserError: not protobuf, cut off, a score that is no number, ids outside the pieces.
SentencePieceModel parse_sentencepiece(std::string_view bytes, const std::string& where);

// The pipeline that gives the ids of SentencePiece; BOS is put in front, as Llama 2 does. Control pieces written out
// in a text are plain text. extra: added_tokens.json.
Pipeline pipeline_from_sentencepiece(std::string_view bytes, const std::string& where,
                                     std::vector<AddedToken> extra = {});

// SentencePiece's normaliser: charsmap with the longest match, spaces thinned and escaped, '▁' in front.
std::unique_ptr<Normalizer> make_sentencepiece_normalizer(const SentencePieceModel& model, const std::string& where);

}  // namespace espalier::tok
