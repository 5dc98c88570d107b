#include "espalier/io/tokenizers/unigram.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/io/tokenizers/component.h"
#include "espalier/io/tokenizers/unicode.h"

namespace espalier::tok {

Unigram::Unigram(Vocab vocab, UnigramOptions options)
    : Model(std::move(vocab)),
      options_(std::move(options)),
      byte_tokens_(vocab_.byte_tokens()),
      cuts_at_space_symbol_(space_symbol_only_leads()) {
  std::vector<std::pair<std::string_view, int32_t>> keys;
  for (const auto& [token, id] : vocab_.entries()) {
    const bool in_text = options_.in_text.empty() || options_.in_text[static_cast<size_t>(id)];
    if (in_text && !token.empty()) keys.emplace_back(token, static_cast<int32_t>(id));
  }
  trie_ = Trie(std::move(keys));
}

int32_t Unigram::unk_id(std::string_view text) const {
  if (!options_.unk_id) user_error("the tokenizer has no token for '{}' and no unknown token", printable(text));
  return *options_.unk_id;
}

std::vector<Unigram::Node> Unigram::best_paths(std::string_view piece) const {
  std::vector<Node> nodes(piece.size() + 1);
  for (size_t begin = 0; begin < piece.size();) {
    const double so_far = nodes[begin].score;
    const size_t first_char = char_bytes(static_cast<unsigned char>(piece[begin]));
    const auto offer = [&](size_t bytes, double score, int32_t id) {
      Node& node = nodes[begin + bytes];
      if (node.begin < 0 || so_far + score > node.score) node = {so_far + score, static_cast<int32_t>(begin), id};
    };
    bool has_single = false;
    trie_.prefixes(piece.substr(begin), [&](size_t bytes, int32_t id) {
      offer(bytes, options_.scores[static_cast<size_t>(id)], id);
      has_single |= bytes == first_char;
    });
    if (!has_single) offer(first_char, options_.unk_score, unk_id(piece.substr(begin, first_char)));
    begin += first_char;
  }
  return nodes;
}

void Unigram::append(std::string_view text, int32_t id, std::vector<int32_t>& ids) const {
  if (id != options_.unk_id) return ids.push_back(id);
  const int32_t known = trie_.value_of(text);
  const auto missing = [this](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)] < 0; };
  if (known >= 0 || !options_.byte_fallback || std::any_of(text.begin(), text.end(), missing))
    return ids.push_back(known >= 0 ? known : id);
  for (unsigned char byte : text) ids.push_back(byte_tokens_[byte]);
}

void Unigram::tokenize(std::string_view piece, std::vector<int32_t>& ids) const {
  const std::vector<Node> nodes = best_paths(piece);
  std::vector<int32_t> ends;  // of the tokens, from the right
  for (auto end = static_cast<int32_t>(piece.size()); end > 0; end = nodes[static_cast<size_t>(end)].begin)
    ends.push_back(end);
  size_t begin = 0;
  for (size_t i = ends.size(); i-- > 0;) {
    const auto end = static_cast<size_t>(ends[i]);
    const int32_t id = nodes[end].id;
    // A run of unknown characters is one unknown token.
    const bool run_goes_on = id == options_.unk_id && i > 0 && nodes[static_cast<size_t>(ends[i - 1])].id == id;
    if (run_goes_on) continue;
    append(piece.substr(begin, end - begin), id, ids);
    begin = end;
  }
}

std::unique_ptr<Model> make_unigram(const Json& spec, const std::string& where) {
  constexpr double kUnkPenalty = 10;  // below the least likely token, as SentencePiece has it
  const Json& list = required_array(spec, "vocab", where, "an array of [token, score]");
  if (list.size() > kMaxTokens) user_error("{}: {} tokens; at most {}", where, list.size(), kMaxTokens);
  std::vector<Vocab::Entry> entries;
  UnigramOptions options;
  for (const Json& pair : list) {
    const bool shaped = pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_number();
    if (!shaped || !std::isfinite(pair[1].get<double>()))
      throw UserError(where, fmt::format("token {}", entries.size()), "[token, finite score]", describe(pair));
    entries.push_back({pair[0].get<std::string>(), static_cast<int64_t>(entries.size())});
    options.scores.push_back(pair[1].get<double>());
    options.unk_score = std::min(options.scores.back(), entries.size() == 1 ? HUGE_VAL : options.unk_score);
  }
  options.unk_score -= kUnkPenalty;
  if (spec.contains("unk_id") && !spec["unk_id"].is_null())
    options.unk_id = static_cast<int32_t>(json_int(spec, "unk_id", where, 0, static_cast<int64_t>(entries.size()) - 1));
  options.byte_fallback = json_bool_or(spec, "byte_fallback", where, false);
  return std::make_unique<Unigram>(Vocab(std::move(entries), where), std::move(options));
}

}  // namespace espalier::tok
