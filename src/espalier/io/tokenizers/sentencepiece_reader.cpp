#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/json.h"
#include "espalier/io/protobuf.h"
#include "espalier/io/tokenizers/sentencepiece.h"

namespace espalier::tok {
namespace {

// Field numbers of sentencepiece_model.proto.
namespace field {
constexpr uint64_t kPieces = 1, kTrainer = 2, kNormalizer = 3;
constexpr uint64_t kPieceText = 1, kPieceScore = 2, kPieceType = 3;
constexpr uint64_t kModelType = 3, kSpaceAsSuffix = 24, kByteFallback = 35, kUnkId = 40, kBosId = 41, kEosId = 42,
                   kPadId = 43;
constexpr uint64_t kCharsmap = 2, kAddDummyPrefix = 3, kRemoveExtraSpaces = 4, kEscapeSpaces = 5;
}  // namespace field

SentencePieceModel::Piece parse_piece(std::string_view message, size_t index, const std::string& where) {
  SentencePieceModel::Piece piece;
  const std::string here = fmt::format("{}: piece {}", where, index);
  for (ProtoReader reader(message, here); reader.next();) {
    if (reader.field() == field::kPieceText) {
      piece.text = reader.bytes();
    } else if (reader.field() == field::kPieceScore) {
      piece.score = reader.single();
    } else if (reader.field() == field::kPieceType) {
      if (reader.integer() < 1 || reader.integer() > 6)
        throw UserError(here, "type", "1 to 6", std::to_string(reader.integer()));
      piece.type = static_cast<PieceType>(reader.integer());
    }
  }
  if (!std::isfinite(piece.score)) throw UserError(here, "score", "a finite number", std::to_string(piece.score));
  if (piece.text.empty() || !is_valid_utf8(piece.text))
    throw UserError(here, "text", "UTF-8 that is not empty", printable(piece.text));
  return piece;
}

void parse_trainer(std::string_view message, SentencePieceModel& model, const std::string& where) {
  for (ProtoReader reader(message, where); reader.next();) {
    switch (reader.field()) {
      case field::kModelType:
        model.model_type = reader.integer();
        break;
      case field::kSpaceAsSuffix:
        model.space_as_suffix = reader.boolean();
        break;
      case field::kByteFallback:
        model.byte_fallback = reader.boolean();
        break;
      case field::kUnkId:
        model.unk_id = reader.integer();
        break;
      case field::kBosId:
        model.bos_id = reader.integer();
        break;
      case field::kEosId:
        model.eos_id = reader.integer();
        break;
      case field::kPadId:
        model.pad_id = reader.integer();
        break;
      default:
        break;
    }
  }
}

void parse_normalizer(std::string_view message, SentencePieceModel& model, const std::string& where) {
  for (ProtoReader reader(message, where); reader.next();) {
    switch (reader.field()) {
      case field::kCharsmap:
        model.charsmap = reader.bytes();
        break;
      case field::kAddDummyPrefix:
        model.add_dummy_prefix = reader.boolean();
        break;
      case field::kRemoveExtraSpaces:
        model.remove_extra_spaces = reader.boolean();
        break;
      case field::kEscapeSpaces:
        model.escape_spaces = reader.boolean();
        break;
      default:
        break;
    }
  }
}

void check(const SentencePieceModel& model, const std::string& where) {
  if (model.pieces.empty()) user_error("{}: not a SentencePiece model: no pieces", where);
  if (model.model_type != 1 && model.model_type != 2)
    throw UserError(where, "model_type", "1 (Unigram) or 2 (BPE)", std::to_string(model.model_type));
  if (model.space_as_suffix) user_error("{}: treat_whitespace_as_suffix is not supported", where);
  const auto end = static_cast<int64_t>(model.pieces.size());
  for (const auto& [name, id] : {std::pair("unk_id", model.unk_id),
                                 {"bos_id", model.bos_id},
                                 {"eos_id", model.eos_id},
                                 {"pad_id", model.pad_id}}) {
    if (id >= end) throw UserError(where, name, fmt::format("below {} pieces", end), std::to_string(id));
  }
  if (model.unk_id < 0 || model.pieces[static_cast<size_t>(model.unk_id)].type != PieceType::kUnknown)
    throw UserError(where, "unk_id", "a piece of the type unknown", std::to_string(model.unk_id));
}

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view bytes, const std::string& where) {
  SentencePieceModel model;
  for (ProtoReader reader(bytes, where); reader.next();) {
    if (reader.field() == field::kPieces) {
      if (model.pieces.size() == kMaxTokens) user_error("{}: more than {} pieces", where, kMaxTokens);
      model.pieces.push_back(parse_piece(reader.bytes(), model.pieces.size(), where));
    } else if (reader.field() == field::kTrainer) {
      parse_trainer(reader.bytes(), model, where + ": trainer_spec");
    } else if (reader.field() == field::kNormalizer) {
      parse_normalizer(reader.bytes(), model, where + ": normalizer_spec");
    }
  }
  check(model, where);
  return model;
}

}  // namespace espalier::tok
