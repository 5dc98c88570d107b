// How the query rows of a chunk are cut into blocks that a kernel call takes: some tokens of all, or of some, query heads
// of one KV head. Cuts lie at absolute positions and depend on nothing but the layer and the policy.
#pragma once

#include <cstdint>

#include "espalier/engine/attention/policy.h"
#include "espalier/engine/team.h"

namespace espalier {

struct RowBlock {
  int64_t kv_head = 0;
  int64_t begin = 0, end = 0;             // tokens of the forward
  int64_t first_head = 0, heads = 0;      // query heads; row r is head first_head + r % heads of token begin + r / heads
  int64_t rows() const { return (end - begin) * heads; }
};

class RowBlocks {
 public:
  // Tokens [begin, end) of a forward whose first token has position `position`.
  RowBlocks(const AttentionLayer& layer, int index, const PolicyNeeds& needs, int64_t position, int64_t begin, int64_t end);

  int layer() const { return index_; }
  bool selects() const { return selects_; }  // the policy is asked; all of the tokens lie on one side of select_from
  int64_t begin() const { return begin_; }
  int64_t end() const { return end_; }
  int64_t kv_heads() const { return kv_heads_; }
  int64_t head_parts() const { return parts_; }                        // blocks that share the tokens of a KV head
  int64_t per_kv_head() const { return parts_ * token_blocks_; }
  int64_t most_rows() const;                                           // of a block
  RowBlock block(int64_t i) const;                                     // i / per_kv_head() is its KV head

  // Selections: for each KV head (or query head) and each query block of the policy.
  int64_t selections() const { return (per_head_ ? kv_heads_ * group_ : kv_heads_) * query_blocks_; }
  int64_t selection_of(const RowBlock& block) const;
  int64_t selection_kv_head(int64_t i) const { return i / query_blocks_ / (per_head_ ? group_ : 1); }
  int64_t selection_head(int64_t i) const { return per_head_ ? i / query_blocks_ : -1; }
  Slice selection_tokens(int64_t i) const;

 private:
  Slice cut(int64_t i, int64_t tokens) const;  // the i-th piece between multiples of `tokens`

  int index_;
  int64_t position_, begin_, end_, kv_heads_, group_;
  bool selects_, per_head_;
  int64_t heads_ = 1, parts_ = 1, tokens_ = 1, query_block_ = 1, token_blocks_ = 1, query_blocks_ = 1;
};

}  // namespace espalier
