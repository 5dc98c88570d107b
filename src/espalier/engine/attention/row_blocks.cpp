#include "espalier/engine/attention/row_blocks.h"

#include <algorithm>

#include "espalier/engine/attention/block_kernels.h"

namespace espalier {

RowBlocks::RowBlocks(const AttentionLayer& layer, int index, const PolicyNeeds& needs, int64_t position, int64_t begin, int64_t end)
    : index_(index), position_(position), begin_(begin), end_(end), kv_heads_(layer.kv_heads), group_(layer.heads / layer.kv_heads),
      selects_(needs.select && position + begin >= needs.select_from && (!needs.steps_alone || end - begin == 1)), per_head_(selects_ && needs.per_head) {
  heads_ = per_head_ ? 1 : std::min(group_, kBlockRows);
  parts_ = (group_ + heads_ - 1) / heads_;
  tokens_ = std::max<int64_t>(1, kBlockRows / heads_);
  query_block_ = selects_ && needs.query_block > 0 ? needs.query_block : tokens_;
  // A block has one selection.
  while (query_block_ % tokens_ != 0) --tokens_;
  const auto pieces = [&](int64_t tokens) { return (position_ + end_ - 1) / tokens - (position_ + begin_) / tokens + 1; };
  token_blocks_ = pieces(tokens_);
  query_blocks_ = pieces(query_block_);
}

int64_t RowBlocks::most_rows() const { return std::min(tokens_, end_ - begin_) * heads_; }

Slice RowBlocks::cut(int64_t i, int64_t tokens) const {
  const int64_t first = (position_ + begin_) / tokens + i;
  return {std::max(begin_, first * tokens - position_), std::min(end_, (first + 1) * tokens - position_)};
}

RowBlock RowBlocks::block(int64_t i) const {
  RowBlock block;
  block.kv_head = i / per_kv_head();
  const int64_t within = i % per_kv_head(), part = within % parts_;
  const Slice tokens = cut(within / parts_, tokens_);
  block.begin = tokens.begin, block.end = tokens.end;
  block.first_head = block.kv_head * group_ + part * heads_;
  block.heads = std::min(heads_, group_ - part * heads_);
  return block;
}

int64_t RowBlocks::selection_of(const RowBlock& block) const {
  const int64_t query = (position_ + block.begin) / query_block_ - (position_ + begin_) / query_block_;
  return (per_head_ ? block.first_head : block.kv_head) * query_blocks_ + query;
}

Slice RowBlocks::selection_tokens(int64_t i) const { return cut(i % query_blocks_, query_block_); }

}  // namespace espalier
