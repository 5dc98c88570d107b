// Which blocks of keys each KV head sees from which block of queries: the strided shards of S2-Attention, or a pattern of
// the user's own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace espalier {

// Of one layer.
struct StridedShards {
  int64_t heads = 1, kv_heads = 1;
  int64_t local_blocks = 16;  // the query's own counts
  int64_t vert_stride = 8;
  int64_t head_offset = 0;
  int64_t dense_kv_heads = 0;  // the last ones
  bool homogeneous = false;    // all heads see the columns of head 0
};

class BlockPattern {
 public:
  explicit BlockPattern(const StridedShards& shards) : shards_(shards) {}
  // mask [kv_heads, blocks, blocks]. UserError naming `where` unless each row sees its own block and none after it.
  BlockPattern(int64_t kv_heads, int64_t blocks, std::vector<uint8_t> mask, const std::string& where);

  // Block j ≤ i from row i. i is below the blocks of a mask.
  bool sees(int64_t g, int64_t i, int64_t j) const;
  // Row i or a later one sees block j ≤ i.
  bool needs(int64_t g, int64_t i, int64_t j) const;
  void row(int64_t g, int64_t i, std::vector<int32_t>& ids) const;  // what row i sees, ascending
  // Which of the first `blocks` blocks no head sees from the last row.
  std::vector<int64_t> unseen(int64_t blocks) const;

 private:
  bool strided_column(int64_t g, int64_t j) const;

  StridedShards shards_;
  int64_t blocks_ = 0;         // of a mask; 0: shards
  std::vector<uint8_t> mask_;
  std::vector<int64_t> last_;  // [kv_heads, blocks]: the last row that sees the block
};

// No head goes back to a block that it left: for no row i ≥ 1 and block j ≤ i - 2 does i see what i - 1 does not. Only then
// can keys be freed as soon as they fall out of use.
bool cache_efficient(int64_t heads, int64_t blocks, const std::function<bool(int64_t g, int64_t i, int64_t j)>& sees);

}  // namespace espalier
