// HiP attention ("HiP Attention: Sparse Sub-Quadratic Attention with Hierarchical Attention Pruning", 2024): for every block
// of queries a search in halves finds the key blocks with the largest scores. The search range is cut into as many groups
// as blocks are wanted; each round halves every group, scores a representative of each half and keeps the best halves,
// until a group is one block. First tokens and a sliding window are seen besides; every key stays in the cache.
#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/core/largest_scores.h"
#include "espalier/core/ranking.h"
#include "espalier/core/rng.h"
#include "espalier/engine/attention/block_kernels.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/attention/rotary_rows.h"
#include "espalier/engine/attention/row_gather.h"
#include "espalier/engine/simd.h"

namespace espalier::hip_policy {
namespace {

constexpr int64_t kMostLayers = 1000;

enum class Representative { kCenter, kFirst, kLast, kRandom };

struct HipOptions {
  int64_t keys, block_q, block_k, query_stride, window, sink, dense_layers, refresh, channels;
  Representative representative;
  bool per_head, random_branch, warm_start;
  uint64_t seed;
};

struct Group {
  int64_t start, size;  // of key blocks
};

// What a search works in; a thread has one and uses it again and again.
struct Search {
  int64_t rows = 0, width = 0;
  std::vector<float> q, tile, sums;  // q [rows, width]: rotated, zeros beyond the head's channels
  std::vector<Group> groups, halves;
  std::vector<const std::byte*> keys;  // of the round's representatives
  std::vector<int32_t> owners, kept;   // of each key its half; halves that stay
  std::vector<float> best;             // of each half
  LargestScores largest;
};

class Hip : public AttentionPolicy {
 public:
  Hip(const PolicyContext& context, const HipOptions& options)
      : options_(options), layers_(context.layers.begin(), context.layers.end()), rotation_(layers_),
        // Those that do not round queries: equal keys get equal scores, in fp32.
        kernels_(block_kernels(context.codec, std::min(simd_level(), SimdLevel::kAvx512))), gather_(row_gather(simd_level())) {
    needs_.select = true;
    needs_.cache.rows = true, needs_.cache.page = kMaxPageTokens;
    needs_.per_head = options.per_head;
    needs_.query_block = options.block_q;
    for (const AttentionLayer& layer : layers_) {
      needs_.end_chunk |= layer.window > 0;
      last_.emplace_back(static_cast<size_t>(options.per_head ? layer.heads : layer.kv_heads));
    }
  }
  const PolicyNeeds& needs() const override { return needs_; }

  void before_forward(PagedKvCache&, int64_t position, int64_t tokens) override {
    begin_ = position, tokens_ = tokens;
    // Sets of a prompt belong to its blocks of queries, so the first step after it searches anew.
    if (tokens > 1)
      for (auto& heads : last_) std::fill(heads.begin(), heads.end(), Last{});
    rotation_.prepare(tokens, [&](int64_t t) { return position + t; });
  }

  uint64_t select(const SelectQuery& query, Selection& selection) const override {
    const int64_t end = query.position + query.rows, searched = std::max<int64_t>(0, end - options_.window);
    // A window of the model's own bounds the cost already.
    if (query.layer < options_.dense_layers || layer_of(query).window > 0 || searched <= options_.keys) return 0;
    selection.kind = Selection::Kind::kBlocks, selection.block = options_.block_k;
    selection.sink = options_.sink, selection.window = options_.window;
    Last& last = last_[static_cast<size_t>(query.layer)][static_cast<size_t>(options_.per_head ? query.head : query.kv_head)];
    const bool decodes = tokens_ == 1;
    if (decodes && last.position >= 0 && query.position - last.position < options_.refresh) {
      // Keys between the end of that search and of this one belong to the window.
      selection.window += query.position - last.position;
      selection.ids = last.ids;
      return 0;
    }
    uint64_t scored = 0;
    search(query, searched, last, selection.ids, scored);
    if (decodes && (options_.refresh > 1 || options_.warm_start)) last = {query.position, selection.ids};
    return scored;
  }

  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override {
    const int64_t window = layers_[static_cast<size_t>(layer)].window;
    for (int64_t g = 0; window > 0 && g < cache.kv_heads(layer); ++g) cache.drop_between(layer, g, 0, length - window + 1);
  }

 private:
  struct Last {
    int64_t position = -1;
    std::vector<int32_t> ids;
  };

  const AttentionLayer& layer_of(const SelectQuery& query) const { return layers_[static_cast<size_t>(query.layer)]; }

  void search(const SelectQuery& query, int64_t searched, const Last& last, std::vector<int32_t>& ids, uint64_t& scored) const {
    thread_local Search s;
    load_rows(query, s);
    Rng rng = random_stream(query);
    first_groups(searched, last, s.groups);
    const auto larger = [](const Group& a, const Group& b) { return a.size < b.size; };
    const auto count = static_cast<int64_t>(s.groups.size());
    while (std::max_element(s.groups.begin(), s.groups.end(), larger)->size > 1) {
      s.halves.clear();
      for (const Group& g : s.groups) {
        const int64_t left = left_size(g.size, rng);
        if (left > 0) s.halves.push_back({g.start, left});
        s.halves.push_back({g.start + left, g.size - left});
      }
      list_keys(query, searched, rng, s);
      score(query, s);
      scored += s.keys.size();
      s.largest.choose(s.best, count, s.kept);
      s.groups.clear();
      for (const int32_t i : s.kept) s.groups.push_back(s.halves[static_cast<size_t>(i)]);
    }
    for (const Group& g : s.groups) ids.push_back(static_cast<int32_t>(g.start));
  }

  // Equal shares of the range, or with a warm start the blocks of the last search and what lies nearest to each.
  void first_groups(int64_t searched, const Last& last, std::vector<Group>& groups) const {
    const int64_t blocks = (searched + options_.block_k - 1) / options_.block_k;
    const int64_t count = (options_.keys + options_.block_k - 1) / options_.block_k;
    const bool warm = options_.warm_start && static_cast<int64_t>(last.ids.size()) == count;
    const auto border = [&](int64_t i) -> int64_t {
      if (i == 0) return 0;
      if (i == count) return blocks;
      return warm ? (last.ids[static_cast<size_t>(i - 1)] + last.ids[static_cast<size_t>(i)] + 1) / 2 : blocks * i / count;
    };
    groups.clear();
    for (int64_t i = 0; i < count; ++i) groups.push_back({border(i), border(i + 1) - border(i)});
  }

  // A half of 0 blocks would be the right one's whole group again.
  int64_t left_size(int64_t size, Rng& rng) const {
    const int64_t half = size / 2, most = size / 4;
    if (!options_.random_branch || most == 0) return half;
    return half - most + static_cast<int64_t>(rng.below(static_cast<uint64_t>(2 * most + 1)));
  }

  int64_t representative(const Group& half, Rng& rng) const {
    switch (options_.representative) {
      case Representative::kFirst: return half.start;
      case Representative::kLast: return half.start + half.size - 1;
      case Representative::kRandom: return half.start + static_cast<int64_t>(rng.below(static_cast<uint64_t>(half.size)));
      case Representative::kCenter: break;
    }
    return half.start + half.size / 2;
  }

  // One stream for each search, so that results do not depend on which thread runs it.
  Rng random_stream(const SelectQuery& query) const {
    if (!options_.random_branch && options_.representative != Representative::kRandom) return Rng(Rng::State{});
    return {options_.seed, fmt::format("hip/{}/{}/{}/{}", query.layer, query.kv_head, query.head, query.position)};
  }

  // Every query_stride-th row of the block, of every head that shares the set.
  void load_rows(const SelectQuery& query, Search& s) const {
    const AttentionLayer& layer = layer_of(query);
    const int64_t group = layer.heads / layer.kv_heads, heads = query.head < 0 ? group : 1;
    const int64_t first_head = query.head < 0 ? query.kv_head * group : query.head;
    const int64_t first = std::min(options_.query_stride, query.rows) - 1, count = (query.rows - 1 - first) / options_.query_stride + 1;
    s.width = query.cache->layout(query.layer).width, s.rows = heads * count;
    s.q.assign(static_cast<size_t>(s.rows * s.width), 0.0f);
    s.tile.resize(static_cast<size_t>(s.width * kMaxPageTokens)), s.sums.resize(static_cast<size_t>(kBlockRows * kScoreStride));
    float* q = s.q.data();
    for (int64_t r = first; r < query.rows; r += options_.query_stride)
      for (int64_t head = first_head; head < first_head + heads; ++head, q += s.width) {
        std::copy_n(query.q + r * query.stride + head * layer.head_size, layer.head_size, q);
        rotation_.rotate(query.layer, query.position + r - begin_, q);
        keep_channels({q, static_cast<size_t>(layer.head_size)});
      }
  }

  // Those with the largest magnitudes; the others are taken for 0.
  void keep_channels(std::span<float> q) const {
    const auto size = static_cast<int64_t>(q.size());
    if (options_.channels == 0 || options_.channels >= size) return;
    std::vector<float> magnitude;
    for (const float x : q) magnitude.push_back(std::isnan(x) ? std::numeric_limits<float>::infinity() : std::abs(x));
    for (const int64_t c : select_smallest(magnitude, size - options_.channels)) q[static_cast<size_t>(c)] = 0;
  }

  // The keys of each half's representative, those before `searched`.
  void list_keys(const SelectQuery& query, int64_t searched, Rng& rng, Search& s) const {
    const KvLayout& layout = query.cache->layout(query.layer);
    const KvHead& head = query.cache->head(query.layer, query.kv_head);
    s.keys.clear(), s.owners.clear();
    for (size_t i = 0; i < s.halves.size(); ++i) {
      const int64_t first = representative(s.halves[i], rng) * options_.block_k, end = std::min(searched, first + options_.block_k);
      for (int64_t j = first; j < end; ++j) {
        const KvPage& page = head.pages[static_cast<size_t>(j / layout.tokens)];
        s.keys.push_back(page.memory + static_cast<size_t>(j % layout.tokens) * layout.row_bytes);
        s.owners.push_back(static_cast<int32_t>(i));
      }
    }
  }

  // Of each half the largest product of a scored row and a key, keys side by side in tiles. Sums have one order for every
  // place in a tile.
  void score(const SelectQuery& query, Search& s) const {
    const KvLayout& layout = query.cache->layout(query.layer);
    const KvCodecOps& ops = codec_ops(layout.codec);
    s.best.assign(s.halves.size(), -std::numeric_limits<float>::infinity());
    float scales[kMaxPageTokens] = {};
    const auto all = static_cast<int64_t>(s.keys.size());
    for (int64_t at = 0; at < all; at += kMaxPageTokens) {
      RowGather from;
      from.rows = s.keys.data() + at, from.count = std::min(kMaxPageTokens, all - at);
      from.next = from.rows + from.count, from.next_count = std::min(kMaxPageTokens, all - at - from.count);
      from.width = layout.width, from.group = ops.group;
      KvBlock tile;
      tile.keys = reinterpret_cast<const std::byte*>(s.tile.data());
      tile.slots = kMaxPageTokens, tile.width = layout.width, tile.used = from.count;
      gather_(from, reinterpret_cast<std::byte*>(s.tile.data()), nullptr);
      if (ops.scaled) {
        for (int64_t j = 0; j < from.count; ++j) scales[j] = *reinterpret_cast<const float*>(from.rows[j] + layout.key_scales);
        tile.key_scales = scales;
      }
      for (int64_t first = 0; first < s.rows; first += kBlockRows) {
        const int64_t count = std::min(kBlockRows, s.rows - first);
        kernels_.scores(tile, s.q.data() + first * s.width, count, s.sums.data());
        float* largest = s.sums.data();  // of the first row, then of all
        for (int64_t r = 1; r < count; ++r) {
          const float* row = s.sums.data() + r * kScoreStride;
          for (int64_t j = 0; j < kScoreStride; ++j) largest[j] = largest[j] < row[j] ? row[j] : largest[j];
        }
        for (int64_t j = 0; j < from.count; ++j) {
          float& best = s.best[static_cast<size_t>(s.owners[static_cast<size_t>(at + j)])];
          best = std::max(best, largest[j]);
        }
      }
    }
  }

  HipOptions options_;
  std::vector<AttentionLayer> layers_;
  PolicyNeeds needs_;
  RotaryRows rotation_;  // of the forward's tokens
  const BlockKernels& kernels_;
  GatherRows gather_;
  int64_t begin_ = 0, tokens_ = 0;
  // By layer and head: of the last step of decoding that searched. A step is one query, so one thread has a head's.
  mutable std::vector<std::vector<Last>> last_;
};

std::unique_ptr<AttentionPolicy> make(const PolicyContext& c) {
  HipOptions o{};
  o.keys = c.tokens("budget", 1), o.block_k = c.tokens("block_k", 1);
  if (o.keys < o.block_k) c.fail("budget", fmt::format("at least block_k, {}", o.block_k), std::to_string(o.keys));
  o.window = c.tokens("window", 1), o.block_q = c.tokens("block_q", 1);
  // Then every key that is searched lies before all queries of the block.
  if (o.window < o.block_q) c.fail("window", fmt::format("at least block_q, {}", o.block_q), std::to_string(o.window));
  o.query_stride = c.tokens("query_stride", 1), o.sink = c.tokens("sink", 0);
  o.dense_layers = c.integer("dense_layers", 0, kMostLayers);
  o.refresh = c.tokens("refresh", 1);
  int64_t size = 0;
  for (const AttentionLayer& layer : c.layers) size = std::max(size, layer.head_size);
  o.channels = c.integer("channels", 0, size);
  o.representative = static_cast<Representative>(c.choice("representative", {"center", "first", "last", "random"}));
  o.per_head = c.choice("per", {"head", "group"}) == 0;
  o.random_branch = c.choice("branch", {"half", "random"}) == 1;
  o.warm_start = c.choice("start", {"even", "last"}) == 1;
  o.seed = c.seed;
  return std::make_unique<Hip>(c, o);
}

const RegisterPolicy registered(
    {"29-hip", "HiP attention", 2024, "a search in halves finds the key blocks with the largest scores for each block of queries",
     {{"budget", "int", "512", "block_k … context", "keys that the search finds for a block of queries, besides sinks and window"},
      {"block_q", "int", "32", "1 … window", "queries that share what is found"},
      {"block_k", "int", "2", "1 … budget", "keys of a block"},
      {"query_stride", "int", "2", "1 … context", "one query of so many scores keys"},
      {"window", "int", "256", "block_q … context", "last keys that are seen, the query's own among them"},
      {"sink", "int", "16", "0 … context", "first keys that are always seen"},
      {"dense_layers", "int", "3", "0 … 1000", "first layers that see everything"},
      {"representative", "text", "center", "center, first, last, random", "the block that stands for a half of a group"},
      {"refresh", "int", "1", "1 … context", "steps of decoding from one search to the next"},
      {"per", "text", "head", "head, group", "a search for each query head, or one for those of a KV head"},
      {"channels", "int", "0", "0 … head size", "the query's largest channels that score keys; 0: all"},
      {"branch", "text", "half", "half, random", "groups are cut in the middle, or up to a quarter beside it"},
      {"start", "text", "even", "even, last", "first groups of a search: equal, or around the blocks found last"}},
     make});

}  // namespace
}  // namespace espalier::hip_policy
