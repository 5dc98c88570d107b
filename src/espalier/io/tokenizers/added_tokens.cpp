#include "espalier/io/tokenizers/added_tokens.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/io/tokenizers/unicode.h"

namespace espalier::tok {
namespace {

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  const bool word_before = begin > 0 && is_word(char_before(text, begin));
  size_t at = end;
  return !word_before && !(end < text.size() && is_word(next_char(text, at)));
}

size_t before_spaces(std::string_view text, size_t begin, size_t limit) {
  while (begin > limit && is_whitespace(char_before(text, begin))) {
    do --begin;
    while ((static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80);
  }
  return begin;
}

size_t after_spaces(std::string_view text, size_t end) {
  for (size_t at = end; at < text.size() && is_whitespace(next_char(text, at));) end = at;
  return end;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Vocab& vocab, const Normalizer* normalizer,
                         const std::string& where)
    : tokens_(std::move(tokens)) {
  index(vocab, where);
  patterns_.reserve(tokens_.size());  // the tries are built from views into it
  std::vector<std::pair<std::string_view, int32_t>> plain, normalized;
  std::unordered_map<std::string_view, size_t> seen[2];
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    const bool changes = token.normalized && normalizer;
    patterns_.push_back(changes ? normalizer->normalize(token.content, Left::kTextStart) : token.content);
    if (!token.in_text || patterns_.back().empty()) continue;
    if (!seen[token.normalized].emplace(patterns_.back(), i).second) continue;  // two become one: the first counts
    (token.normalized ? normalized : plain).emplace_back(patterns_.back(), static_cast<int32_t>(i));
  }
  plain_ = Trie(std::move(plain));
  normalized_ = Trie(std::move(normalized));
}

void AddedTokens::index(const Vocab& vocab, const std::string& where) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const auto& [content, id, special, word, lstrip, rstrip, normalized, in_text] = tokens_[i];
    const auto model_id = vocab.find(content);
    const std::string* model_token = vocab.token(id);
    if (model_id.value_or(id) != id)
      user_error("{}: added token '{}' has id {}, in the model's vocabulary {}", where, printable(content), id,
                 *model_id);
    if (model_token && *model_token != content)
      user_error("{}: added token '{}' has id {}, which is '{}' in the model's vocabulary", where, printable(content),
                 id, printable(*model_token));
    if (!ids_.emplace(id, i).second || !contents_.emplace(content, i).second)
      user_error("{}: added token '{}' with id {}: another one has the same content or id", where, printable(content),
                 id);
    end_id_ = std::max(end_id_, id + 1);
  }
}

std::vector<AddedTokens::Segment> AddedTokens::segments(std::string_view text, bool normalized) const {
  const Trie& trie = normalized ? normalized_ : plain_;
  std::vector<Segment> out;
  size_t covered = 0;
  for (size_t from = 0, begin = 0; from < text.size() && !trie.empty();) {
    const Trie::Match match = trie.find(text, from, begin);
    if (match.bytes == 0) break;
    from = begin + match.bytes;
    const AddedToken& token = tokens_[static_cast<size_t>(match.value)];
    size_t end = from;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = before_spaces(text, begin, covered);
    if (token.rstrip) from = end = after_spaces(text, end);
    if (begin > covered) out.push_back({covered, begin, nullptr});
    out.push_back({begin, end, &token});
    covered = end;
  }
  if (covered < text.size()) out.push_back({covered, text.size(), nullptr});
  return out;
}

const AddedToken* AddedTokens::by_id(int32_t id) const {
  const auto found = ids_.find(id);
  return found == ids_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::by_content(std::string_view content) const {
  const auto found = contents_.find(content);
  return found == contents_.end() ? nullptr : &tokens_[found->second];
}

std::vector<AddedToken> added_tokens_from_json(const Json& list, const std::string& where) {
  if (list.is_null()) return {};
  if (!list.is_array()) throw UserError(where, "value", "an array", describe(list));
  if (list.size() > kMaxTokens) user_error("{}: {} tokens; at most {}", where, list.size(), kMaxTokens);
  std::vector<AddedToken> tokens;
  size_t bytes = 0;
  for (const Json& item : list) {
    const std::string here = fmt::format("{}[{}]", where, tokens.size());
    if (!item.is_object()) throw UserError(here, "value", "an object", describe(item));
    AddedToken token;
    token.content = json_string(item, "content", here);
    if (token.content.size() > kMaxTokenBytes || (bytes += token.content.size()) > kMaxVocabBytes)
      user_error("{}: content of {} bytes; at most {}", here, token.content.size(), kMaxTokenBytes);
    token.id = static_cast<int32_t>(json_int(item, "id", here, 0, INT32_MAX - 1));
    token.special = json_bool_or(item, "special", here, false);
    token.single_word = json_bool_or(item, "single_word", here, false);
    token.lstrip = json_bool_or(item, "lstrip", here, false);
    token.rstrip = json_bool_or(item, "rstrip", here, false);
    token.normalized = json_bool_or(item, "normalized", here, !token.special);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace espalier::tok
