#include "espalier/engine/attention/policies/s2_pattern.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {

BlockPattern::BlockPattern(int64_t kv_heads, int64_t blocks, std::vector<uint8_t> mask, const std::string& where)
    : blocks_(blocks), mask_(std::move(mask)), last_(static_cast<size_t>(kv_heads * blocks), -1) {
  shards_.kv_heads = kv_heads;
  for (int64_t g = 0; g < kv_heads; ++g)
    for (int64_t i = 0; i < blocks; ++i) {
      const uint8_t* row = mask_.data() + (g * blocks + i) * blocks;
      const auto later = std::find(row + i + 1, row + blocks, uint8_t{1});
      const std::string of = fmt::format("head {}, row {}", g, i);
      if (row[i] == 0) throw UserError(where, of, "to see its own block", "false");
      if (later != row + blocks) throw UserError(where, of, "to see no later block", fmt::format("true for block {}", later - row));
      for (int64_t j = 0; j <= i; ++j)
        if (row[j] != 0) last_[static_cast<size_t>(g * blocks + j)] = i;
    }
}

bool BlockPattern::strided_column(int64_t g, int64_t j) const {
  const StridedShards& s = shards_;
  const int64_t step = std::max<int64_t>(1, s.vert_stride / s.heads), shift = s.homogeneous ? 0 : g * step;
  return g >= s.kv_heads - s.dense_kv_heads || (j + shift + s.head_offset) % s.vert_stride == 0;
}

bool BlockPattern::sees(int64_t g, int64_t i, int64_t j) const {
  if (blocks_ > 0) return mask_[static_cast<size_t>((g * blocks_ + i) * blocks_ + j)] != 0;
  return i - j < shards_.local_blocks || strided_column(g, j);
}

bool BlockPattern::needs(int64_t g, int64_t i, int64_t j) const {
  return blocks_ > 0 ? last_[static_cast<size_t>(g * blocks_ + j)] >= i : sees(g, i, j);
}

void BlockPattern::row(int64_t g, int64_t i, std::vector<int32_t>& ids) const {
  ids.clear();
  for (int64_t j = 0; j <= i; ++j)
    if (sees(g, i, j)) ids.push_back(static_cast<int32_t>(j));
}

std::vector<int64_t> BlockPattern::unseen(int64_t blocks) const {
  std::vector<int64_t> list;
  for (int64_t j = 0; j < blocks; ++j) {
    bool seen = false;
    for (int64_t g = 0; g < shards_.kv_heads; ++g) seen |= sees(g, blocks - 1, j);
    if (!seen) list.push_back(j);
  }
  return list;
}

bool cache_efficient(int64_t heads, int64_t blocks, const std::function<bool(int64_t g, int64_t i, int64_t j)>& sees) {
  for (int64_t g = 0; g < heads; ++g)
    for (int64_t i = 2; i < blocks; ++i)
      for (int64_t j = 0; j <= i - 2; ++j)
        if (sees(g, i, j) && !sees(g, i - 1, j)) return false;
  return true;
}

}  // namespace espalier
