#include "espalier/lab/training/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <map>
#include <queue>
#include <set>
#include <unordered_map>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"

namespace espalier {
namespace {

constexpr const char* kEndOfText = "<|endoftext|>";

using Pair = std::pair<int32_t, int32_t>;

struct Word {
  std::vector<int32_t> symbols;  // byte values, then merged ids
  int64_t count;
};

enum class Class { kSpace, kLetter, kDigit, kOther };

Class class_of(unsigned char c) {
  if (c == ' ' || c == '\n' || c == '\t' || c == '\r') return Class::kSpace;
  if (c >= '0' && c <= '9') return Class::kDigit;
  return std::isalpha(c) || c >= 0x80 ? Class::kLetter : Class::kOther;
}

// Runs of one class, each with one leading space, as the byte-level pre-tokenizer cuts ASCII text.
std::unordered_map<std::string, int64_t> count_words(const std::string& text, bool single_digits) {
  std::unordered_map<std::string, int64_t> counts;
  for (size_t i = 0; i < text.size();) {
    size_t begin = i;
    if (text[i] == ' ' && i + 1 < text.size() && class_of(static_cast<unsigned char>(text[i + 1])) != Class::kSpace) ++i;
    const Class kind = class_of(static_cast<unsigned char>(text[i]));
    while (i < text.size() && class_of(static_cast<unsigned char>(text[i])) == kind) ++i;
    // the last space of a run belongs to the word after it
    if (kind == Class::kSpace && i < text.size() && text[i - 1] == ' ' && i - begin > 1) --i;
    if (kind != Class::kDigit || !single_digits) ++counts[text.substr(begin, i - begin)];
  }
  return counts;
}

// The printable alphabet of byte-level BPE: bytes that print stand for themselves, the others follow from U+0100 on.
std::array<std::string, 256> byte_alphabet() {
  auto utf8 = [](int code) {
    if (code < 0x80) return std::string(1, static_cast<char>(code));
    return std::string{static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
  };
  std::array<std::string, 256> alphabet;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    alphabet[static_cast<size_t>(byte)] = utf8(prints ? byte : next++);
  }
  return alphabet;
}

class Merger {
 public:
  explicit Merger(const std::unordered_map<std::string, int64_t>& counts) {
    const std::map<std::string, int64_t> ordered(counts.begin(), counts.end());
    for (const auto& [text, count] : ordered) {
      Word word{{}, count};
      for (unsigned char byte : text) word.symbols.push_back(byte);
      words_.push_back(std::move(word));
    }
    for (size_t w = 0; w < words_.size(); ++w) add_pairs(w, +1);
    for (const auto& [pair, count] : counts_) queue_.push({count, {-pair.first, -pair.second}});
  }

  // The next most frequent pair becomes `id`; nothing when no pair occurs twice.
  bool merge_next(int32_t id, Pair& merged) {
    while (!queue_.empty()) {
      auto [count, negated] = queue_.top();
      queue_.pop();
      const Pair pair{-negated.first, -negated.second};
      const auto now = counts_.find(pair);
      if (now == counts_.end() || now->second != count) continue;  // an outdated entry
      if (count < 2) return false;
      apply(pair, id);
      merged = pair;
      return true;
    }
    return false;
  }

 private:
  void add_pairs(size_t w, int sign) {
    const Word& word = words_[w];
    for (size_t i = 0; i + 1 < word.symbols.size(); ++i) {
      const Pair pair{word.symbols[i], word.symbols[i + 1]};
      counts_[pair] += sign * word.count;
      touched_.insert(pair);
      if (sign > 0) where_[pair].insert(w);
    }
  }

  void apply(const Pair& pair, int32_t id) {
    touched_.clear();
    const auto words = std::move(where_[pair]);
    where_.erase(pair);
    for (size_t w : words) {
      add_pairs(w, -1);
      auto& symbols = words_[w].symbols;
      size_t to = 0;
      for (size_t i = 0; i < symbols.size(); ++i) {
        const bool match = i + 1 < symbols.size() && symbols[i] == pair.first && symbols[i + 1] == pair.second;
        symbols[to++] = match ? id : symbols[i];
        i += match;
      }
      symbols.resize(to);
      add_pairs(w, +1);
    }
    counts_.erase(pair);
    for (const auto& changed : touched_)
      if (changed != pair) queue_.push({counts_[changed], {-changed.first, -changed.second}});
  }

  std::vector<Word> words_;
  std::map<Pair, int64_t> counts_;
  std::map<Pair, std::set<size_t>> where_;
  std::set<Pair> touched_;
  std::priority_queue<std::pair<int64_t, Pair>> queue_;  // pairs negated: of equal counts the smaller ids first
};

}  // namespace

BpeVocabulary train_bpe(const std::string& text, size_t vocab_size, bool single_digits) {
  ESP_ASSERT(vocab_size >= 257);
  BpeVocabulary vocabulary;
  vocabulary.tokens.push_back(kEndOfText);
  std::vector<std::string> symbols;  // text of each symbol of the merger
  for (const auto& letter : byte_alphabet()) symbols.push_back(letter);
  vocabulary.tokens.insert(vocabulary.tokens.end(), symbols.begin(), symbols.end());
  Merger merger(count_words(text, single_digits));
  Pair pair;
  while (vocabulary.tokens.size() < vocab_size && merger.merge_next(static_cast<int32_t>(symbols.size()), pair)) {
    const std::string &left = symbols[static_cast<size_t>(pair.first)], &right = symbols[static_cast<size_t>(pair.second)];
    vocabulary.merges.emplace_back(left, right);
    symbols.push_back(left + right);
    vocabulary.tokens.push_back(symbols.back());
  }
  return vocabulary;
}

void write_tokenizer(const BpeVocabulary& vocabulary, const std::filesystem::path& directory) {
  Json vocab = Json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) vocab[vocabulary.tokens[id]] = id;
  Json merges = Json::array();
  for (const auto& [left, right] : vocabulary.merges) merges.push_back(left + " " + right);
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json end_of_text = {{"id", 0},         {"content", kEndOfText}, {"single_word", false}, {"lstrip", false},
                            {"rstrip", false}, {"normalized", false},   {"special", true}};
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", Json::array({end_of_text})},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", byte_level},
                          {"post_processor", nullptr},
                          {"decoder", byte_level},
                          {"model",
                           {{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", nullptr},
                            {"end_of_word_suffix", nullptr},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"vocab", vocab},
                            {"merges", merges}}}};
  write_file_atomically(directory / "tokenizer.json", tokenizer.dump(1) + "\n");
  const Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                       {"bos_token", kEndOfText},
                       {"eos_token", kEndOfText},
                       {"unk_token", kEndOfText},
                       {"clean_up_tokenization_spaces", false}};
  write_file_atomically(directory / "tokenizer_config.json", config.dump(1) + "\n");
}

}  // namespace espalier
