// A set of byte strings with numbers, for "which of them start here". Built once, read by any number of threads.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace espalier::tok {

class Trie {
 public:
  Trie() = default;
  // Keys must be distinct and not empty, values not negative. Linear in the bytes of all keys, after sorting.
  explicit Trie(std::vector<std::pair<std::string_view, int32_t>> entries);

  // Calls visit(bytes, value) for each key that is a prefix of `text`, the shortest first.
  template <typename Visit>
  void prefixes(std::string_view text, Visit&& visit) const {
    if (nodes_.empty()) return;
    uint32_t node = 0;
    for (size_t depth = 0; depth < text.size(); ++depth) {
      node = child(node, static_cast<unsigned char>(text[depth]));
      if (node == 0) return;
      if (nodes_[node].value >= 0) visit(depth + 1, nodes_[node].value);
    }
  }

  struct Match {
    size_t bytes = 0;  // 0: no key starts here
    int32_t value = -1;
  };
  Match longest_prefix(std::string_view text) const;
  // The longest key at the leftmost place at or after `from`; begin is moved there. No match: bytes 0.
  Match find(std::string_view text, size_t from, size_t& begin) const;
  int32_t value_of(std::string_view key) const;  // -1: not a key
  bool empty() const { return nodes_.empty(); }

 private:
  struct Node {
    uint32_t first_child = 0;
    uint16_t children = 0;
    uint8_t byte = 0;
    int32_t value = -1;
  };
  uint32_t child(uint32_t node, unsigned char byte) const;  // 0: none; the root is nobody's child

  std::vector<Node> nodes_;  // children of one node are neighbours, sorted by byte
  uint32_t root_child_[256] = {};
};

}  // namespace espalier::tok
