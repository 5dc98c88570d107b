#include "espalier/io/tokenizers/trie.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier::tok {

Trie::Trie(std::vector<std::pair<std::string_view, int32_t>> entries) {
  if (entries.empty()) return;
  std::sort(entries.begin(), entries.end());
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges{{0, entries.size(), 0}};  // of the node with the same index: the keys below it
  nodes_.emplace_back();
  for (size_t node = 0; node < nodes_.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    if (entries[begin].first.size() == depth) {
      ESP_ASSERT(depth > 0 && entries[begin].second >= 0, "empty key or negative value");
      nodes_[node].value = entries[begin++].second;
      ESP_ASSERT(begin == end || entries[begin].first.size() > depth, "two equal keys");
    }
    nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
    while (begin < end) {
      const char byte = entries[begin].first[depth];
      size_t stop = begin + 1;
      while (stop < end && entries[stop].first[depth] == byte) ++stop;
      ESP_ASSERT(nodes_.size() < UINT32_MAX);
      nodes_.push_back({0, 0, static_cast<uint8_t>(byte), -1});
      ranges.push_back({begin, stop, depth + 1});
      ++nodes_[node].children;
      begin = stop;
    }
  }
  for (uint32_t i = 0; i < nodes_[0].children; ++i) root_child_[nodes_[1 + i].byte] = 1 + i;
}

uint32_t Trie::child(uint32_t node, unsigned char byte) const {
  if (node == 0) return root_child_[byte];
  const Node* begin = nodes_.data() + nodes_[node].first_child;
  const Node* end = begin + nodes_[node].children;
  const Node* found = std::lower_bound(begin, end, byte, [](const Node& a, unsigned char b) { return a.byte < b; });
  return found != end && found->byte == byte ? static_cast<uint32_t>(found - nodes_.data()) : 0;
}

Trie::Match Trie::longest_prefix(std::string_view text) const {
  Match best;
  prefixes(text, [&](size_t bytes, int32_t value) { best = {bytes, value}; });
  return best;
}

Trie::Match Trie::find(std::string_view text, size_t from, size_t& begin) const {
  for (begin = from; begin < text.size(); ++begin) {
    if (Match match = longest_prefix(text.substr(begin)); match.bytes > 0) return match;
  }
  return {};
}

int32_t Trie::value_of(std::string_view key) const {
  const Match match = longest_prefix(key);
  return match.bytes == key.size() ? match.value : -1;
}

}  // namespace espalier::tok
