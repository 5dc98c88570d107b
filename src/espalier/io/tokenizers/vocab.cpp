#include "espalier/io/tokenizers/vocab.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier::tok {
namespace {

void check_size(const std::vector<Vocab::Entry>& entries, const std::string& where) {
  if (entries.empty()) user_error("{}: no tokens", where);
  if (entries.size() > kMaxTokens) user_error("{}: {} tokens; at most {}", where, entries.size(), kMaxTokens);
  const int64_t largest = static_cast<int64_t>(entries.size()) * 4 + (1 << 20);
  size_t bytes = 0;
  for (const auto& [token, id] : entries) {
    bytes += token.size();
    if (token.size() > kMaxTokenBytes)
      user_error("{}: token '{}' has {} bytes; at most {}", where, printable(token, 40), token.size(), kMaxTokenBytes);
    if (id < 0 || id > largest)
      throw UserError(where, fmt::format("id of '{}'", printable(token)),
                      fmt::format("0 to {} with {} tokens", largest, entries.size()), std::to_string(id));
  }
  if (bytes > kMaxVocabBytes)
    user_error("{}: the tokens have {} bytes in all; at most {}", where, bytes, kMaxVocabBytes);
}

}  // namespace

Vocab::Vocab(std::vector<Entry> entries, const std::string& where) : entries_(std::move(entries)) {
  check_size(entries_, where);
  int64_t largest = 0;
  for (const auto& entry : entries_) largest = std::max(largest, entry.id);
  by_id_.assign(static_cast<size_t>(largest) + 1, -1);
  ids_.reserve(entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) {
    const auto& [token, id] = entries_[i];
    int32_t& slot = by_id_[static_cast<size_t>(id)];
    if (slot >= 0)
      user_error("{}: '{}' and '{}' have the same id {}", where, printable(entries_[static_cast<size_t>(slot)].token),
                 printable(token), id);
    slot = static_cast<int32_t>(i);
    if (!ids_.emplace(token, static_cast<int32_t>(id)).second)
      user_error("{}: token '{}' stands twice", where, printable(token));
  }
}

const std::string* Vocab::token(int64_t id) const {
  if (id < 0 || id >= end_id() || by_id_[static_cast<size_t>(id)] < 0) return nullptr;
  return &entries_[static_cast<size_t>(by_id_[static_cast<size_t>(id)])].token;
}

std::array<int32_t, 256> Vocab::byte_tokens() const {
  std::array<int32_t, 256> ids;
  for (size_t byte = 0; byte < ids.size(); ++byte) ids[byte] = find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  return ids;
}

}  // namespace espalier::tok
