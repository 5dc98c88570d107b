// The BPE model of tokenizer.json: vocab, merges and options, all of them checked against each other.
#include "espalier/io/tokenizers/bpe_json.h"

#include "espalier/core/error.h"
#include "espalier/io/tokenizers/component.h"

namespace espalier::tok {
namespace {

void refuse_dropout(const Json& spec, const std::string& where) {
  if (json_number_or(spec, "dropout", where, 0) > 0)
    user_error("{}: dropout: expected null, found {}; it makes the ids of a text random", where,
               describe(spec["dropout"]));
}

MergePair merge_of(const Json& value, size_t index, const std::string& where) {
  if (value.is_string()) return split_merge(value.get<std::string>(), index, where);
  if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string())
    return {value[0].get<std::string>(), value[1].get<std::string>()};
  throw UserError(where, fmt::format("merge {}", index), "\"a b\" or [\"a\", \"b\"]", describe(value));
}

std::vector<MergePair> merges_of(const Json& spec, const std::string& where) {
  const Json& merges = required_array(spec, "merges", where);
  if (merges.size() > kMaxMerges) user_error("{}: {} merges; at most {}", where, merges.size(), kMaxMerges);
  std::vector<MergePair> pairs;
  pairs.reserve(merges.size());
  for (const auto& merge : merges) pairs.push_back(merge_of(merge, pairs.size(), where));
  return pairs;
}

}  // namespace

MergePair split_merge(const std::string& text, size_t index, const std::string& where) {
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
    throw UserError(where, fmt::format("merge {}", index), "two tokens with one space between them",
                    fmt::format("'{}'", printable(text)));
  return {text.substr(0, space), text.substr(space + 1)};
}

PairTable merge_table(const Vocab& vocab, const std::vector<MergePair>& merges, const std::string& continuing_prefix,
                      const std::string& where) {
  PairTable table(merges.size());
  const auto id_of = [&](const std::string& token, size_t index) {
    const auto id = vocab.find(token);
    if (!id)
      user_error("{}: merge {} needs the token '{}', which is not in the vocabulary", where, index, printable(token));
    return *id;
  };
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    // Joining to nothing would make a token out of itself.
    if (left.empty() || right.size() <= continuing_prefix.size())
      user_error("{}: merge {} joins '{}' and '{}': both must have text", where, i, printable(left), printable(right));
    const int32_t left_id = id_of(left, i), right_id = id_of(right, i);
    table.set(left_id, right_id, {static_cast<int32_t>(i), id_of(left + right.substr(continuing_prefix.size()), i)});
  }
  return table;
}

std::unique_ptr<Model> make_bpe(const Json& spec, const std::string& where) {
  if (!spec.contains("vocab")) user_error("{}: the field 'vocab' is missing", where);
  refuse_dropout(spec, where);
  BpeOptions options;
  options.unk_token = json_string_or(spec, "unk_token", where, "");
  options.continuing_prefix = json_string_or(spec, "continuing_subword_prefix", where, "");
  options.end_suffix = json_string_or(spec, "end_of_word_suffix", where, "");
  options.fuse_unk = json_bool_or(spec, "fuse_unk", where, false);
  options.byte_fallback = json_bool_or(spec, "byte_fallback", where, false);
  options.ignore_merges = json_bool_or(spec, "ignore_merges", where, false);
  Vocab vocab = vocab_from_json(spec["vocab"], where);
  PairTable merges = merge_table(vocab, merges_of(spec, where), options.continuing_prefix, where);
  if (!options.unk_token.empty()) options.unk_id = vocab.find(options.unk_token);
  return std::make_unique<Bpe>(std::move(vocab), std::move(merges), std::move(options));
}

}  // namespace espalier::tok
