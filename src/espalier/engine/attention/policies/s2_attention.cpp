// S2-Attention ("Efficient LLM Training and Serving with Heterogeneous Context Sharding among Attention Heads", 2024):
// every KV head sees a band of the last blocks and one block in `vert_stride`, each head from another block on, so that
// the heads together see the whole text. A block that has left the band and is no column of a head is freed for good.
// Some layers see everything. Meant for models that were trained with the pattern.
#include <algorithm>
#include <bit>
#include <charconv>

#include "espalier/core/error.h"
#include "espalier/core/json.h"
#include "espalier/engine/attention/policies/s2_pattern.h"
#include "espalier/engine/attention/policy.h"

namespace espalier::s2_attention_policy {
namespace {

struct SparseLayer {
  std::unique_ptr<BlockPattern> pattern;  // null: dense
  int64_t window = 0;                     // the model's own
  int64_t row = 0;                        // whose blocks have been looked through
};

class S2Attention : public AttentionPolicy {
 public:
  S2Attention(int64_t block, std::vector<SparseLayer> layers, std::vector<std::string> notes)
      : block_(block), layers_(std::move(layers)), notes_(std::move(notes)) {
    needs_.select = needs_.end_chunk = true;
    needs_.query_block = needs_.cache.page = block;  // a page is a block
  }
  const PolicyNeeds& needs() const override { return needs_; }
  std::vector<std::string> notes() const override { return notes_; }

  uint64_t select(const SelectQuery& query, Selection& selection) const override {
    const auto& pattern = layers_[static_cast<size_t>(query.layer)].pattern;
    if (pattern == nullptr) return 0;
    selection.kind = Selection::Kind::kBlocks, selection.block = block_;
    pattern->row(query.kv_head, query.position / block_, selection.ids);
    return 0;
  }

  // What the last token's block of queries does not see, and none after it will.
  void end_chunk(PagedKvCache& cache, int index, int64_t length) override {
    SparseLayer& layer = layers_[static_cast<size_t>(index)];
    for (int64_t g = 0; layer.window > 0 && g < cache.kv_heads(index); ++g) cache.drop_between(index, g, 0, length - layer.window + 1);
    const int64_t row = (length - 1) / block_;
    if (layer.pattern == nullptr || row == layer.row) return;
    layer.row = row;
    for (int64_t g = 0; g < cache.kv_heads(index); ++g)
      for (int64_t j = 0; j < row; ++j)
        if (!layer.pattern->needs(g, row, j)) cache.drop_page(index, g, j);
  }

 private:
  int64_t block_;
  std::vector<SparseLayer> layers_;
  std::vector<std::string> notes_;
  PolicyNeeds needs_;
};

// "0,5": which layers are dense; else every period-th.
std::vector<bool> dense_layers(const PolicyContext& c) {
  const auto count = static_cast<int64_t>(c.layers.size());
  const int64_t period = c.integer("dense_period", 0, std::max<int64_t>(count, 1000));
  std::vector<bool> dense(static_cast<size_t>(count), false);
  for (int64_t l = 0; period > 0 && !c.has("dense_layers") && l < count; ++l) dense[static_cast<size_t>(l)] = (l + 1) % period == 0;
  if (!c.has("dense_layers")) return dense;
  const std::string list = c.text("dense_layers");
  if (c.given->count("dense_period") > 0) c.fail("dense_period", "no other option beside dense_layers", c.text("dense_period"));
  const std::string expected = fmt::format("layers from 0 to {} with commas between", count - 1);
  for (const char *at = list.data(), *end = at + list.size(); at <= end;) {
    int64_t layer = -1;
    const auto [stop, error] = std::from_chars(at, end, layer);
    if (error != std::errc() || layer < 0 || layer >= count || (stop != end && *stop != ',')) c.fail("dense_layers", expected, printable(list));
    dense[static_cast<size_t>(layer)] = true;
    at = stop + 1;
  }
  return dense;
}

// [kv_heads][blocks][blocks] of true and false (or 1 and 0).
struct GivenPattern {
  int64_t kv_heads = 0, blocks = 0;
  std::vector<uint8_t> mask;
};

GivenPattern read_pattern(const std::string& path) {
  const Json root = read_json(path);
  const auto rows_of = [&](const Json& value, const char* what, size_t expected) -> const Json& {
    if (!value.is_array() || value.empty() || (expected > 0 && value.size() != expected))
      throw UserError(path, what, expected > 0 ? fmt::format("an array of {}", expected) : "an array", describe(value));
    return value;
  };
  GivenPattern pattern;
  pattern.kv_heads = static_cast<int64_t>(rows_of(root, "heads", 0).size());
  const size_t blocks = rows_of(root[0], "rows", 0).size();
  pattern.blocks = static_cast<int64_t>(blocks);
  for (const Json& head : root)
    for (const Json& row : rows_of(head, "rows", blocks))
      for (const Json& cell : rows_of(row, "blocks", blocks)) {
        if (cell != true && cell != false && cell != 0 && cell != 1) throw UserError(path, "blocks", "true or false", describe(cell));
        pattern.mask.push_back(cell == true || cell == 1);
      }
  return pattern;
}

std::string efficiency_note(const GivenPattern& p, const std::string& path) {
  const auto sees = [&](int64_t g, int64_t i, int64_t j) { return p.mask[static_cast<size_t>((g * p.blocks + i) * p.blocks + j)] != 0; };
  if (cache_efficient(p.kv_heads, p.blocks, sees)) return "";
  return fmt::format("{}: some heads go back to blocks that they left, so these stay in the cache", path);
}

std::string coverage_note(const BlockPattern& pattern, int64_t blocks) {
  const auto unseen = pattern.unseen(blocks);
  if (unseen.empty()) return "";
  return fmt::format("of the {} blocks of a full context, {} are seen by no head of a sparse layer (the first: {})", blocks,
                     unseen.size(), unseen[0]);
}

void add_note(std::vector<std::string>& notes, const std::string& note) {
  if (!note.empty() && std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(note);
}

StridedShards shards_of(const PolicyContext& c, const AttentionLayer& layer) {
  StridedShards s;
  s.heads = layer.heads, s.kv_heads = layer.kv_heads;
  s.local_blocks = c.tokens("local_blocks", 1), s.vert_stride = c.tokens("vert_stride", 1);
  s.head_offset = c.integer("head_offset", 0, int64_t{1} << 30);
  s.dense_kv_heads = c.integer("dense_kv_heads", 0, layer.kv_heads);
  s.homogeneous = c.integer("homogeneous", 0, 1) == 1;
  if (s.homogeneous && s.dense_kv_heads > 0) c.fail("homogeneous", "0 beside dense_kv_heads", "1");
  return s;
}

BlockPattern given_for(const PolicyContext& c, const GivenPattern& given, const AttentionLayer& layer, int64_t block) {
  const std::string path = c.text("pattern");
  if (given.kv_heads != layer.kv_heads)
    c.fail("pattern", fmt::format("{} heads, as the model has KV heads", layer.kv_heads), std::to_string(given.kv_heads));
  if (const int64_t need = (c.capacity + block - 1) / block; given.blocks < need)
    c.fail("pattern", fmt::format("{} blocks of {} for a context of {}", need, block, c.capacity), std::to_string(given.blocks));
  return {given.kv_heads, given.blocks, given.mask, path};
}

std::unique_ptr<AttentionPolicy> make(const PolicyContext& c) {
  const int64_t block = c.integer("block", 1, kMaxPageTokens), blocks = (c.capacity + block - 1) / block;
  if (!std::has_single_bit(static_cast<uint64_t>(block))) c.fail("block", "a power of two", std::to_string(block));
  const std::vector<bool> dense = dense_layers(c);
  const GivenPattern given = c.has("pattern") ? read_pattern(c.text("pattern")) : GivenPattern{};
  std::vector<std::string> notes;
  if (given.blocks > 0) add_note(notes, efficiency_note(given, c.text("pattern")));
  std::vector<SparseLayer> layers;
  for (size_t l = 0; l < c.layers.size(); ++l) {
    SparseLayer& layer = layers.emplace_back();
    layer.window = c.layers[l].window;
    const BlockPattern pattern = given.blocks > 0 ? given_for(c, given, c.layers[l], block) : BlockPattern(shards_of(c, c.layers[l]));
    if (dense[l]) continue;
    add_note(notes, coverage_note(pattern, blocks));
    layer.pattern = std::make_unique<BlockPattern>(pattern);
  }
  return std::make_unique<S2Attention>(block, std::move(layers), std::move(notes));
}

const RegisterPolicy registered(
    {"36-s2-attention", "S2-Attention", 2024, "a band of blocks and, for each head others, one block in so many; the rest is freed",
     {{"block", "int", "64", "1 … 64, a power of two", "tokens of a block, which is a page of the cache"},
      {"local_blocks", "int", "16", "1 … context", "last blocks that are seen, the query's own among them"},
      {"vert_stride", "int", "8", "1 … context", "one block in so many is seen from everywhere"},
      {"head_offset", "int", "0", "0 … 2^30", "by which the columns of all heads are moved"},
      {"homogeneous", "int", "0", "0, 1", "1: all heads see the same columns"},
      {"dense_kv_heads", "int", "0", "0 … KV heads", "last KV heads, which see everything"},
      {"dense_period", "int", "2", "0 … 1000", "every so many-th layer sees everything; 0: none"},
      {"dense_layers", "text", "", "0,1,…", "the layers that see everything, instead of dense_period"},
      {"pattern", "text", "", "a JSON file", "blocks seen, [KV heads][blocks][blocks] of true and false, instead of band and columns"}},
     make});

}  // namespace
}  // namespace espalier::s2_attention_policy
