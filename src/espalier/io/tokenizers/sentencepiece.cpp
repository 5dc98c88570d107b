#include "espalier/io/tokenizers/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "espalier/core/error.h"
#include "espalier/io/tokenizers/bpe.h"
#include "espalier/io/tokenizers/trie.h"
#include "espalier/io/tokenizers/unigram.h"

namespace espalier::tok {
namespace {

using Pieces = std::vector<SentencePieceModel::Piece>;

Vocab vocab_of(const Pieces& pieces, const std::string& where) {
  std::vector<Vocab::Entry> entries;
  entries.reserve(pieces.size());
  for (const auto& piece : pieces) entries.push_back({piece.text, static_cast<int64_t>(entries.size())});
  return Vocab(std::move(entries), where);
}

// SentencePiece joins two neighbours when their text is a piece, the best score first, the leftmost of equal ones.
// Hence a merge for every way to cut a piece into two pieces, with the same rank for the same score.
class MergeFinder {
 public:
  MergeFinder(const Pieces& pieces, const std::string& where) : pieces_(pieces), where_(where) {
    for (const auto& piece : pieces) {
      if (piece.type == PieceType::kNormal) ranks_.emplace(piece.score, 0);
    }
    int32_t rank = 0;
    for (auto& [score, own] : ranks_) own = rank++;
    std::vector<std::pair<std::string_view, int32_t>> forward, backward;
    reversed_.reserve(pieces.size());
    for (size_t id = 0; id < pieces.size(); ++id) {
      const std::string& text = reversed_.emplace_back(pieces[id].text.rbegin(), pieces[id].text.rend());
      if (pieces[id].type != PieceType::kNormal) continue;
      forward.emplace_back(pieces[id].text, static_cast<int32_t>(id));
      backward.emplace_back(text, static_cast<int32_t>(id));
    }
    prefixes_ = Trie(std::move(forward));
    suffixes_ = Trie(std::move(backward));
  }

  PairTable table() {
    for (size_t id = 0; id < pieces_.size(); ++id) {
      if (pieces_[id].type == PieceType::kNormal) add_cuts(id);
    }
    PairTable table(found_.size());
    for (const auto& [left, right, merge] : found_) table.set(left, right, merge);
    return table;
  }

 private:
  void add_cuts(size_t id) {
    const std::string& text = pieces_[id].text;
    std::vector<int32_t> left(text.size() + 1, -1);  // by place of the cut: the piece before it
    prefixes_.prefixes(text, [&](size_t bytes, int32_t piece) { left[bytes] = piece; });
    suffixes_.prefixes(reversed_[id], [&](size_t bytes, int32_t piece) {
      const int32_t before = left[text.size() - bytes];
      if (before >= 0) found_.push_back({before, piece, {ranks_.at(pieces_[id].score), static_cast<int32_t>(id)}});
    });
    if (found_.size() > kMaxMerges)
      user_error("{}: more than {} ways to join two pieces to a third", where_, kMaxMerges);
  }

  struct Found {
    int32_t left, right;
    Merge merge;
  };
  const Pieces& pieces_;
  const std::string& where_;
  std::map<float, int32_t, std::greater<>> ranks_;
  std::vector<std::string> reversed_;
  Trie prefixes_, suffixes_;
  std::vector<Found> found_;
};

std::unique_ptr<Model> bpe_of(const SentencePieceModel& model, const std::string& where) {
  Vocab vocab = vocab_of(model.pieces, where);
  BpeOptions options;
  options.unk_id = static_cast<int32_t>(model.unk_id);
  options.unk_token = model.pieces[static_cast<size_t>(model.unk_id)].text;
  options.fuse_unk = true;
  options.byte_fallback = model.byte_fallback;
  return std::make_unique<Bpe>(std::move(vocab), MergeFinder(model.pieces, where).table(), std::move(options));
}

std::unique_ptr<Model> unigram_of(const SentencePieceModel& model, const std::string& where) {
  constexpr double kUnkPenalty = 10, kUserDefinedPenalty = 0.1;  // SentencePiece's constants
  double lowest = HUGE_VAL, highest = -HUGE_VAL;
  for (const auto& piece : model.pieces) {
    if (piece.type != PieceType::kNormal) continue;
    lowest = std::min<double>(lowest, piece.score);
    highest = std::max<double>(highest, piece.score);
  }
  if (lowest > highest) lowest = highest = 0;
  UnigramOptions options;
  for (const auto& piece : model.pieces) {
    const bool user_defined = piece.type == PieceType::kUserDefined;
    options.in_text.push_back(piece.type == PieceType::kNormal || user_defined);
    options.scores.push_back(user_defined ? static_cast<double>(piece.text.size()) * highest - kUserDefinedPenalty
                                          : piece.score);
  }
  options.unk_id = static_cast<int32_t>(model.unk_id);
  options.unk_score = lowest - kUnkPenalty;
  options.byte_fallback = model.byte_fallback;
  return std::make_unique<Unigram>(vocab_of(model.pieces, where), std::move(options));
}

std::vector<AddedToken> added_tokens_of(const SentencePieceModel& model, std::vector<AddedToken> extra) {
  std::vector<AddedToken> tokens = std::move(extra);
  const bool bpe = model.model_type == 2;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& [text, score, type] = model.pieces[id];
    AddedToken token;
    token.content = text;
    token.id = static_cast<int32_t>(id);
    token.special = type == PieceType::kControl || type == PieceType::kUnknown;
    // BPE never takes user-defined pieces apart; Unigram gives them a score that wins.
    token.in_text = token.normalized = bpe && type == PieceType::kUserDefined;
    if (token.special || token.in_text) tokens.push_back(std::move(token));
  }
  return tokens;
}

std::unique_ptr<Decoder> decoder_of(const SentencePieceModel& model, const std::string& where) {
  Json stages = Json::array();
  stages.push_back({{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}});
  stages.push_back({{"type", "ByteFallback"}});
  stages.push_back({{"type", "Fuse"}});
  const int64_t spaces = model.remove_extra_spaces ? INT32_MAX : model.add_dummy_prefix ? 1 : 0;
  stages.push_back({{"type", "Strip"}, {"content", " "}, {"start", spaces}, {"stop", 0}});
  return make_decoder({{"type", "Sequence"}, {"decoders", std::move(stages)}}, where);
}

std::optional<int32_t> id_or_none(int64_t id) {
  return id < 0 ? std::nullopt : std::optional(static_cast<int32_t>(id));
}

}  // namespace

Pipeline pipeline_from_sentencepiece(std::string_view bytes, const std::string& where, std::vector<AddedToken> extra) {
  const SentencePieceModel model = parse_sentencepiece(bytes, where);
  Pipeline pipeline;
  pipeline.where = where;
  pipeline.model = model.model_type == 2 ? bpe_of(model, where) : unigram_of(model, where);
  pipeline.normalizer = make_sentencepiece_normalizer(model, where);
  // No normaliser for the added tokens: pieces are written in normal form.
  pipeline.added = AddedTokens(added_tokens_of(model, std::move(extra)), pipeline.model->vocab(), nullptr, where);
  pipeline.decoder = decoder_of(model, where);
  pipeline.special = {
      id_or_none(model.bos_id), id_or_none(model.eos_id), id_or_none(model.pad_id), id_or_none(model.unk_id), {}};
  if (pipeline.special.bos) pipeline.post.prefix = {*pipeline.special.bos};
  return pipeline;
}

}  // namespace espalier::tok
