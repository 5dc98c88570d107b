#include "espalier/io/tokenizers/charsmap.h"
#include "espalier/io/tokenizers/sentencepiece.h"
#include "espalier/io/tokenizers/trie.h"
#include "espalier/io/tokenizers/unicode.h"

namespace espalier::tok {
namespace {

class SentencePieceNormalizer : public Normalizer {
 public:
  SentencePieceNormalizer(const SentencePieceModel& model, const std::string& where)
      : space_(model.escape_spaces ? "▁" : " "),
        add_dummy_prefix_(model.add_dummy_prefix),
        remove_extra_spaces_(model.remove_extra_spaces) {
    if (!model.charsmap.empty()) map_.emplace(model.charsmap, where);
    std::vector<std::pair<std::string_view, int32_t>> verbatim;
    for (const auto& piece : model.pieces) {
      if (piece.type == PieceType::kUserDefined) verbatim.emplace_back(piece.text, 0);
    }
    verbatim_ = Trie(std::move(verbatim));
  }

  std::string normalize(std::string_view text, Left left) const override {
    const bool goes_on = left == Left::kContinuation;
    if (remove_extra_spaces_ && !goes_on) text = without_leading_spaces(text);
    if (text.empty()) return "";
    std::string out;
    out.reserve(text.size() + text.size() / 2);
    if (add_dummy_prefix_ && !goes_on) out = space_;
    bool after_space = remove_extra_spaces_ && !goes_on;
    for (size_t at = 0; at < text.size();) {
      const auto [bytes, normal] = first_of(text.substr(at));
      append(out, normal, after_space);
      at += bytes;
      check_growth(out.size(), text.size(), "the normalizer of SentencePiece");
    }
    while (remove_extra_spaces_ && out.ends_with(space_)) out.resize(out.size() - space_.size());
    return out;
  }

 private:
  // The normal form of the longest thing at the front that has one.
  Charsmap::Match first_of(std::string_view text) const {
    if (const size_t bytes = verbatim_.longest_prefix(text).bytes) return {bytes, text.substr(0, bytes)};
    if (map_) {
      if (const auto match = map_->longest_prefix(text)) return *match;
    }
    const size_t bytes = char_bytes(static_cast<unsigned char>(text[0]));
    return {bytes, text.substr(0, bytes)};
  }

  std::string_view without_leading_spaces(std::string_view text) const {
    while (!text.empty()) {
      const auto [bytes, normal] = first_of(text);
      if (normal != " ") break;
      text.remove_prefix(bytes);
    }
    return text;
  }

  // after_space: whether a space was the last thing written and a further one is to be dropped.
  void append(std::string& out, std::string_view normal, bool& after_space) const {
    while (after_space && normal.starts_with(' ')) normal.remove_prefix(1);
    if (normal.empty()) return;
    for (char c : normal) {
      if (c == ' ') {
        out += space_;
      } else {
        out += c;
      }
    }
    after_space = remove_extra_spaces_ && normal.back() == ' ';
  }

  std::string space_;
  bool add_dummy_prefix_, remove_extra_spaces_;
  std::optional<Charsmap> map_;
  Trie verbatim_;  // user-defined pieces are not normalised
};

}  // namespace

std::unique_ptr<Normalizer> make_sentencepiece_normalizer(const SentencePieceModel& model, const std::string& where) {
  return std::make_unique<SentencePieceNormalizer>(model, where + ": normalizer_spec");
}

}  // namespace espalier::tok
