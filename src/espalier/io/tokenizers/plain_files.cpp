#include "espalier/io/tokenizers/plain_files.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/io/tokenizers/bpe_json.h"
#include "espalier/io/tokenizers/word_piece.h"

namespace espalier::tok {
namespace {

constexpr uint64_t kMaxFileBytes = 64 << 20;

// Lines without their ends; a last empty one does not count.
std::vector<std::string> read_lines(const std::filesystem::path& path) {
  std::string text = read_file(path, kMaxFileBytes);
  if (!is_valid_utf8(text)) user_error("{}: not valid UTF-8 at byte {}", path.string(), valid_utf8_prefix(text));
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string& line = lines.emplace_back(text, begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    begin = end + 1;
  }
  return lines;
}

// As the first line of a merges file says which version it is; a merge "#version x" cannot be meant.
std::vector<MergePair> read_merges(const std::filesystem::path& path) {
  std::vector<MergePair> merges;
  for (const std::string& line : read_lines(path)) {
    if (line.starts_with("#version") || line.empty()) continue;
    if (merges.size() == kMaxMerges) user_error("{}: more than {} merges", path.string(), kMaxMerges);
    merges.push_back(split_merge(line, merges.size(), path.string()));
  }
  return merges;
}

void refuse_other_families(const Sidecars& sidecars, const std::string& where) {
  const auto check = [&](const char* what, const std::string& found, const std::vector<std::string>& known) {
    if (found.empty() || std::find(known.begin(), known.end(), found) != known.end()) return;
    throw UserError(where, what, fmt::format("one of {}, or tokenizer.json beside it", fmt::join(known, ", ")),
                    printable(found));
  };
  check("tokenizer_class", sidecars.tokenizer_class(), {"GPT2Tokenizer", "GPT2TokenizerFast"});
  if (sidecars.tokenizer_class().empty())
    check("model_type", sidecars.model_type(), {"gpt2", "gpt_neo", "gptj", "opt"});
}

std::vector<AddedToken> special_tokens(const Vocab& vocab, std::vector<std::string> contents,
                                       const Sidecars& sidecars) {
  std::vector<AddedToken> tokens = sidecars.added_tokens();
  for (auto& content : contents) {
    const auto same = [&](const AddedToken& token) { return token.content == content; };
    const auto listed = std::find_if(tokens.begin(), tokens.end(), same);
    if (listed != tokens.end()) {
      listed->special = true;
    } else if (const auto id = vocab.find(content)) {
      AddedToken token;
      token.content = std::move(content);
      token.id = *id;
      token.special = true;
      tokens.push_back(std::move(token));
    }
  }
  return tokens;
}

bool has_capitals(const Vocab& vocab) {
  return std::any_of(vocab.entries().begin(), vocab.entries().end(), [](const Vocab::Entry& entry) {
    return !entry.token.starts_with('[') &&
           std::any_of(entry.token.begin(), entry.token.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  });
}

int32_t required(const Vocab& vocab, const std::string& token, const std::string& where) {
  const auto id = vocab.find(token);
  if (!id) user_error("{}: no token {}; is it a BERT vocabulary?", where, token);
  return *id;
}

}  // namespace

Pipeline pipeline_from_gpt2(const std::filesystem::path& vocab_json, const std::filesystem::path& merges_txt,
                            const Sidecars& sidecars) {
  const std::string where = vocab_json.string();
  refuse_other_families(sidecars, where);
  Vocab vocab = vocab_from_json(read_json(vocab_json, kMaxFileBytes), where);
  PairTable merges = merge_table(vocab, read_merges(merges_txt), "", merges_txt.string());
  std::vector<std::string> contents = sidecars.special_contents();
  if (std::find(contents.begin(), contents.end(), "<|endoftext|>") == contents.end())
    contents.emplace_back("<|endoftext|>");
  Pipeline pipeline;
  pipeline.where = where;
  pipeline.added = AddedTokens(special_tokens(vocab, std::move(contents), sidecars), vocab, nullptr, where);
  pipeline.model = std::make_unique<Bpe>(std::move(vocab), std::move(merges), BpeOptions{});
  const bool prefix_space = sidecars.flag("add_prefix_space").value_or(false);
  pipeline.pre_tokenizer = make_pre_tokenizer({{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}}, where);
  pipeline.decoder = make_decoder({{"type", "ByteLevel"}}, where);
  pipeline.special.bos = pipeline.special.eos = pipeline.find("<|endoftext|>");
  return pipeline;
}

Pipeline pipeline_from_bert(const std::filesystem::path& vocab_txt, const Sidecars& sidecars) {
  const std::string where = vocab_txt.string();
  std::vector<Vocab::Entry> entries;
  for (std::string& line : read_lines(vocab_txt))
    entries.push_back({std::move(line), static_cast<int64_t>(entries.size())});
  Vocab vocab(std::move(entries), where);
  std::vector<std::string> contents = sidecars.special_contents();
  for (const char* usual : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    if (std::find(contents.begin(), contents.end(), usual) == contents.end()) contents.emplace_back(usual);
  }
  Pipeline pipeline;
  pipeline.where = where;
  pipeline.post = {{required(vocab, "[CLS]", where)}, {required(vocab, "[SEP]", where)}};
  pipeline.special.unk = required(vocab, "[UNK]", where);
  pipeline.special.pad = vocab.find("[PAD]");
  pipeline.added = AddedTokens(special_tokens(vocab, std::move(contents), sidecars), vocab, nullptr, where);
  Json normalizer = {{"type", "BertNormalizer"},
                     {"lowercase", sidecars.flag("do_lower_case").value_or(!has_capitals(vocab))}};
  if (const auto strip = sidecars.flag("strip_accents")) normalizer["strip_accents"] = *strip;
  if (const auto chinese = sidecars.flag("tokenize_chinese_chars")) normalizer["handle_chinese_chars"] = *chinese;
  pipeline.normalizer = make_normalizer(normalizer, where);
  pipeline.pre_tokenizer = make_pre_tokenizer({{"type", "BertPreTokenizer"}}, where);
  pipeline.decoder = make_decoder({{"type", "WordPiece"}}, where);
  pipeline.model = make_word_piece(std::move(vocab), {});
  return pipeline;
}

}  // namespace espalier::tok
