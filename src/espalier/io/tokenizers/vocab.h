// The tokens of a model and their ids. Ids may have holes, but neither duplicates nor negative values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace espalier::tok {

// Bounds on what a file may declare; the largest vocabularies in use have 262 144 tokens and 580 000 merges.
inline constexpr size_t kMaxTokens = size_t{1} << 22;
inline constexpr size_t kMaxMerges = size_t{1} << 22;
inline constexpr size_t kMaxTokenBytes = size_t{1} << 13;  // also bounds the search for the longest token at a place
inline constexpr size_t kMaxVocabBytes = size_t{1} << 25;  // all tokens together

class Vocab {
 public:
  struct Entry {
    std::string token;
    int64_t id;
  };
  // UserError: too many, too long, a negative or repeated id, a repeated token, ids so sparse that a table by id
  // would be far larger than the file.
  Vocab(std::vector<Entry> entries, const std::string& where);
  Vocab(const Vocab&) = delete;
  Vocab(Vocab&&) = default;

  std::optional<int32_t> find(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  const std::string* token(int64_t id) const;                             // nullptr: no such id
  int32_t end_id() const { return static_cast<int32_t>(by_id_.size()); }  // largest id + 1
  const std::vector<Entry>& entries() const { return entries_; }

  // Ids of "<0x00>" … "<0xFF>", the tokens of the byte fallback; -1 where one is missing.
  std::array<int32_t, 256> byte_tokens() const;

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views into entries_
  std::vector<int32_t> by_id_;                         // index into entries_, or -1
};

}  // namespace espalier::tok
