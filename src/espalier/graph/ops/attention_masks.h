// What the inputs of an Attention after q, k and v do to its scores q kᵀ · scale, one after the other: entry i of the
// node's list `masks` says what input 3 + i does, entry i of `fills` which number it puts in. A mask broadcasts to
// [batch, heads, queries, keys] from the last dim; a first dim of fewer than the batch repeats (windows of a picture).
#pragma once

#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

enum AttentionMask : int64_t {
  kAddMask,       // the scores plus the mask
  kFillWhere,     // the number where the mask is not 0
  kFillWhereNot,  // the number where it is 0
};
constexpr int64_t kAttentionMasks = 3;

inline std::vector<double> attention_fills(const Node& node) {
  const auto found = node.attributes.find("fills");
  return found == node.attributes.end() ? std::vector<double>{} : std::get<std::vector<double>>(found->second);
}

}  // namespace espalier
