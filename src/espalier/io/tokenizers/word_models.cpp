// WordPiece (greedy, longest match first) and WordLevel (a piece is a token or unknown).
#include "espalier/core/error.h"
#include "espalier/io/tokenizers/model.h"
#include "espalier/io/tokenizers/trie.h"
#include "espalier/io/tokenizers/unicode.h"
#include "espalier/io/tokenizers/word_piece.h"

namespace espalier::tok {
namespace {

int32_t known_or_unk(const Vocab& vocab, const std::string& unk_token, std::string_view piece) {
  const auto unk = vocab.find(unk_token);
  if (!unk)
    user_error("the tokenizer has no token for '{}' and its unknown token '{}' is not in the vocabulary",
               printable(piece), printable(unk_token));
  return *unk;
}

class WordLevel : public Model {
 public:
  WordLevel(Vocab vocab, std::string unk_token) : Model(std::move(vocab)), unk_token_(std::move(unk_token)) {}
  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override {
    const auto id = vocab_.find(piece);
    ids.push_back(id ? *id : known_or_unk(vocab_, unk_token_, piece));
  }

 private:
  std::string unk_token_;
};

size_t char_count(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += char_bytes(static_cast<unsigned char>(text[at]))) ++count;
  return count;
}

class WordPiece : public Model {
 public:
  WordPiece(Vocab vocab, WordPieceOptions options) : Model(std::move(vocab)), options_(std::move(options)) {
    std::vector<std::pair<std::string_view, int32_t>> first, later;
    for (const auto& [token, id] : vocab_.entries()) {
      const std::string_view text = token;
      if (!text.empty()) first.emplace_back(text, static_cast<int32_t>(id));
      if (text.size() > options_.continuing_prefix.size() && text.starts_with(options_.continuing_prefix))
        later.emplace_back(text.substr(options_.continuing_prefix.size()), static_cast<int32_t>(id));
    }
    first_ = Trie(std::move(first));
    later_ = Trie(std::move(later));
  }

  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override {
    const size_t before = ids.size();
    bool known = char_count(piece) <= options_.max_chars;
    for (std::string_view rest = piece; known && !rest.empty();) {
      const Trie::Match match = (rest.size() == piece.size() ? first_ : later_).longest_prefix(rest);
      known = match.bytes > 0;
      if (known) ids.push_back(match.value);
      rest.remove_prefix(match.bytes);
    }
    if (known) return;
    ids.resize(before);
    ids.push_back(known_or_unk(vocab_, options_.unk_token, piece));
  }

 private:
  WordPieceOptions options_;
  Trie first_, later_;  // tokens at the start of a word, and those behind the prefix "##"
};

}  // namespace

std::unique_ptr<Model> make_word_piece(Vocab vocab, WordPieceOptions options) {
  return std::make_unique<WordPiece>(std::move(vocab), std::move(options));
}

std::unique_ptr<Model> make_word_piece(const Json& spec, const std::string& where) {
  if (!spec.contains("vocab")) user_error("{}: the field 'vocab' is missing", where);
  WordPieceOptions options;
  options.unk_token = json_string_or(spec, "unk_token", where, options.unk_token);
  options.continuing_prefix = json_string_or(spec, "continuing_subword_prefix", where, options.continuing_prefix);
  options.max_chars = static_cast<size_t>(
      json_int_or(spec, "max_input_chars_per_word", where, 1, INT32_MAX, static_cast<int64_t>(options.max_chars)));
  return make_word_piece(vocab_from_json(spec["vocab"], where), options);
}

std::unique_ptr<Model> make_word_level(const Json& spec, const std::string& where) {
  if (!spec.contains("vocab")) user_error("{}: the field 'vocab' is missing", where);
  return std::make_unique<WordLevel>(vocab_from_json(spec["vocab"], where),
                                     json_string_or(spec, "unk_token", where, "<unk>"));
}

}  // namespace espalier::tok
