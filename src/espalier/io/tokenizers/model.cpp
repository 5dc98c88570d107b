#include "espalier/io/tokenizers/model.h"

#include "espalier/io/tokenizers/component.h"

namespace espalier::tok {

namespace {

bool has_inner_space_symbol(std::string_view token) {
  constexpr std::string_view kSymbol = "▁";
  while (token.starts_with(kSymbol)) token.remove_prefix(kSymbol.size());
  return token.find(kSymbol) != std::string_view::npos;
}

}  // namespace

bool Model::space_symbol_only_leads() const {
  if (!vocab_.find("▁")) return false;
  for (const auto& entry : vocab_.entries()) {
    if (has_inner_space_symbol(entry.token)) return false;
  }
  return true;
}

Vocab vocab_from_json(const Json& tokens, const std::string& where) {
  if (!tokens.is_object()) throw UserError(where, "vocab", "an object from token to id", describe(tokens));
  if (tokens.size() > kMaxTokens) user_error("{}: {} tokens; at most {}", where, tokens.size(), kMaxTokens);
  std::vector<Vocab::Entry> entries;
  entries.reserve(tokens.size());
  for (const auto& [token, id] : tokens.items()) {
    if (!id.is_number_integer() || (id.is_number_unsigned() && id.get<uint64_t>() > INT32_MAX))
      throw UserError(where, fmt::format("id of '{}'", printable(token)), "an integer", describe(id));
    entries.push_back({token, id.get<int64_t>()});
  }
  return Vocab(std::move(entries), where);
}

std::unique_ptr<Model> make_model(const Json& spec, const std::string& where) {
  static const Factories<Model> factories = {
      {"BPE", make_bpe}, {"WordPiece", make_word_piece}, {"WordLevel", make_word_level}, {"Unigram", make_unigram}};
  // Files of before 2020 name no type; only BPE has merges.
  if (spec.is_object() && !spec.contains("type") && spec.contains("merges")) return make_bpe(spec, where);
  return make_stage(spec, factories, where);
}

}  // namespace espalier::tok
