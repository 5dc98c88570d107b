// Attention of one block of query rows over a list of cache pages: online softmax, masks from the selection, the causal
// order and the model's window. All rows share one KV head, whose keys and values are read once for all of them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "espalier/engine/attention/block_kernels.h"
#include "espalier/engine/attention/kv_cache.h"
#include "espalier/engine/attention/page_masks.h"
#include "espalier/engine/attention/rotary_rows.h"
#include "espalier/engine/attention/row_copies.h"
#include "espalier/engine/attention/row_gather.h"

namespace espalier {

struct BlockCounts {
  uint64_t pairs = 0;                       // visible (row, key) pairs
  uint64_t value_pairs = 0;                 // of these, such whose value was read
  uint64_t key_multiplies = 0;              // of queries with keys
  uint64_t fast_bytes = 0, slow_bytes = 0;  // of visible keys and values, once for all rows
  BlockCounts& operator+=(const BlockCounts& other);
};

// Pages [begin, end) of one head.
struct PageList {
  const PagedKvCache* cache = nullptr;
  int layer = 0;
  int64_t kv_head = 0;
  int64_t begin = 0, end = 0;
  int64_t next_kv_head = -1;                    // that this thread reads after this one; -1: none
  const BlockKernels* kernels = nullptr;        // of the cache's codec
  const BlockKernels* plain_kernels = nullptr;  // of fp32, for keys that are rotated as they are read
  const RotaryRows* rotation = nullptr;         // by position, for raw keys and packed blocks
  const FarKeys* far = nullptr;                 // of a policy that has them
  RowCopies copies;                             // of tokens in rows
  double value_share = 1;                       // PolicyNeeds
  int64_t value_count = 0;
  double flat_below = -1;
};

// The rows' running state; a thread has one and uses it again and again.
class BlockRows {
 public:
  void reserve(int64_t width);  // the largest padded head size; no later call allocates
  void reserve_pages(int64_t pages);  // likewise, where rows multiply only their largest probabilities: pages of a head

  // Starts over with `count` rows of `width` channels, all of which have seen nothing.
  void start(int64_t count, int64_t width);
  // To be filled: scaled, zeros beyond head_size; rotated, unless blocks are packed (Selection::Positions::kPacked).
  float* q(int64_t r) { return q_.data() + r * width_; }
  float* sink_q(int64_t r) { return sink_q_.data() + r * width_; }   // as q, for keys seen as sinks alone
  int32_t& position(int64_t r) { return positions_[static_cast<size_t>(r)]; }  // non-decreasing

  // A row of a query that the policy has given up sees nothing (blind), or sees but counts in no sum (unheard).
  void give_up(int64_t r, bool blind) { unheard_[static_cast<size_t>(r)] = 1, blind_[static_cast<size_t>(r)] = blind; }
  // Rows that read both planes of the keys in the last attend().
  int64_t flat_rows() const;

  // Takes the pages' visible keys in.
  BlockCounts attend(const PageList& pages, const PageMasks& masks, bool separate_sinks);
  // After the last page: sums[page · 64 + slot] += Σ over rows of the softmax. Reads the keys again.
  void add_column_sums(const PageList& pages, const PageMasks& masks, bool separate_sinks, float* sums);

  // State: out is not yet divided by sum.
  float maximum(int64_t r) const { return maximum_[static_cast<size_t>(r)]; }
  float sum(int64_t r) const { return sum_[static_cast<size_t>(r)]; }
  const float* out(int64_t r) const { return out_.data() + r * width_; }
  float log_sum_exp(int64_t r) const;  // natural logarithm; -infinity for a row without visible keys
  // [count · (width + 2)]: to keep the state, and to take another's in. Order of merging matters for the last bits.
  void save(float* state) const;
  void merge(const float* state);
  // Divided and written: rows without visible keys are 0.
  void write(int64_t r, int64_t head_size, float* target) const;

 private:
  struct Step {
    KvBlock block;
    const BlockKernels* kernels;
  };
  Step make_step(const PageList& pages, int64_t page, const std::byte* fetch, int64_t used);
  void make_tile(const PageList& pages, const KvPage& page);
  BlockCounts attend_once(const PageList& pages, const PageMasks& masks, bool separate_sinks);
  // High planes first, and again with both where that leaves a row flat.
  BlockCounts attend_planes(const PageList& pages, const PageMasks& masks, bool separate_sinks);
  // Tokens in rows, of as many pages as it takes, go through the kernels in whole tiles.
  BlockCounts attend_rows(const PageList& pages, const PageMasks& masks);
  struct RowTile {
    std::array<const std::byte*, kScoreStride> rows;
    std::array<uint64_t, kBlockRows> masks;
    int64_t count = 0;
  };
  void start_tile(RowTile& tile) const;
  // The page's slots in `seen` from `from` on that the tile has room for; returns the first slot that is left, kScoreStride: none.
  int64_t fill_tile(RowTile& tile, const PageList& pages, const KvPage& page, uint64_t seen, int64_t from, BlockCounts& counts) const;
  void take_in_tile(const PageList& pages, const RowTile& tile, const RowTile* next, const float* q);
  // Each row multiplies only its largest probabilities with values.
  BlockCounts attend_some_values(const PageList& pages, const PageMasks& masks);
  uint64_t keep_largest(const PageList& pages);
  uint64_t visible(const PageMasks& masks, const KvPage& page, const int32_t* positions, const std::vector<uint8_t>& hidden);
  size_t key_bytes(const KvLayout& layout) const;
  bool in_tiles(const PageList& pages) const;
  void turn_to(const PageList& pages, const Selection& selection, int64_t block);
  const float* prepared(const PageList& pages, const std::vector<float>& q, std::vector<float>& target) const;
  void take_in(const Step& step, const float* q, const uint64_t* masks);
  void take_in_scores(const Step& step, const uint64_t* masks);  // that stand in scores_
  // The page's keys that are not near to the rows, which are taken out of masks_. Returns all of them or-ed.
  uint64_t take_in_far(const PageList& pages, int64_t page, const std::byte* fetch, FarRows& far, BlockCounts& counts);
  void start_far(const PageList& pages, FarRows& far);

  int64_t width_ = 0, count_ = 0;
  std::vector<float> q_, sink_q_, out_, scores_, maximum_, sum_, log_sum_, key_tile_, value_tile_, row_, prepared_q_, prepared_sink_q_;
  RowTile row_tiles_[2];
  std::array<float, kScoreStride> key_scales_{}, value_scales_{};  // of a tile
  GatherRows gather_ = nullptr;
  std::vector<float> far_q_, far_running_;
  std::vector<uint8_t> unheard_, blind_, hidden_, flat_;  // by row
  bool coarse_ = false, refined_ = false;                 // of keys in planes: the high one alone, the low one after it
  // Of all pages that rows see: raw scores [page, row, slot] and masks [page, row].
  std::vector<int64_t> seen_pages_;
  std::vector<float> all_scores_;
  std::vector<uint64_t> all_masks_;
  std::vector<std::pair<float, int64_t>> ranking_;
  std::vector<int32_t> positions_;
  std::vector<uint64_t> masks_, sink_masks_;
};

}  // namespace espalier
