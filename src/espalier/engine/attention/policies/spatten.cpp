// SpAtten ("SpAtten: Efficient Sparse Attention Architecture with Cascade Token and Head Pruning", 2021): tokens that got
// little attention so far, over all heads and layers, leave all later layers, and so do heads whose outputs were small. Of
// a row's probabilities only the largest meet their values; keys lie in two planes of bits, and the low one is read where the
// high one leaves the softmax flat. Positions are never renumbered.
#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/rng.h"
#include "espalier/core/room.h"
#include "espalier/engine/attention/policies/cascade.h"
#include "espalier/engine/attention/policy.h"

namespace espalier::spatten_policy {
namespace {

struct SpattenOptions {
  std::vector<double> tokens, heads;  // shares kept on entering each layer
  double values = 1;
  int64_t value_count = 0;
  KeyBits bits;
  double flat = 0.1;
  int64_t recent = 1;        // last tokens that always stay
  int64_t reference = 0;     // tokens that shares are of while decoding
  bool by_layer = false;     // heads are judged by their own layer's outputs alone
  bool all_rows = true;      // queries of removed tokens go on
  enum { kMost, kLeast, kRandom } rank = kMost;  // the last two: controls
  uint64_t seed = 0;
};

class Spatten : public AttentionPolicy {
 public:
  Spatten(std::span<const AttentionLayer> layers, int64_t capacity, SpattenOptions options)
      : options_(std::move(options)), layers_(layers.begin(), layers.end()), importance_(static_cast<size_t>(capacity), 0.0f) {
    const bool heads_go = std::any_of(options_.heads.begin(), options_.heads.end(), [](double share) { return share < 1; });
    needs_.before_layer = needs_.select = needs_.column_sums = needs_.end_chunk = needs_.gives_up = true;
    needs_.blind = !options_.all_rows;
    needs_.per_head = heads_go;
    needs_.value_share = options_.values, needs_.value_count = options_.value_count;
    needs_.cache.key_bits = options_.bits;
    needs_.flat_below = options_.bits.all() > 0 ? options_.flat : -1;
    attended_.resize(layers_.size()), removed_.resize(layers_.size()), alive_heads_.resize(layers_.size()), traces_.resize(layers_.size());
    heads_chosen_.resize(layers_.size());
    for (const AttentionLayer& layer : layers_) head_importance_.emplace_back(static_cast<size_t>(layer.heads), 0.0f);
  }

  const PolicyNeeds& needs() const override { return needs_; }

  void before_forward(PagedKvCache&, int64_t position, int64_t tokens) override {
    first_ = position, tokens_ = tokens;
    const auto most = static_cast<size_t>(position + tokens);
    for (auto* list : {&held_, &candidates_}) make_room(*list, most);
  }

  void before_layer(PagedKvCache&, int layer) override {
    const auto l = static_cast<size_t>(layer);
    choose_tokens(l);
    choose_heads(l);
  }

  bool attends(int layer, int64_t position) const override {
    const auto& list = attended_[static_cast<size_t>(layer)];
    return std::binary_search(list.begin(), list.end(), static_cast<int32_t>(position));
  }

  uint64_t select(const SelectQuery& query, Selection& selection) const override {
    const auto l = static_cast<size_t>(query.layer);
    selection.kind = Selection::Kind::kTokens;
    if (query.head >= 0 && !head_lives(l, static_cast<int32_t>(query.head))) return 0;
    // A removed token's query that goes on sees its own key too, as a decoded token's does.
    make_room(selection.ids, attended_[l].size());
    selection.ids = attended_[l], selection.window = 1;
    return 0;
  }

  void after_attention(PagedKvCache& cache, const AttentionStatistics& s) override {
    const auto l = static_cast<size_t>(s.layer);
    for (int64_t g = 0; g < cache.kv_heads(s.layer); ++g) {
      const float* sums = s.column_sums + g * s.column_stride;
      for (const KvPage& page : cache.head(s.layer, g).pages) {
        for (uint64_t left = page.memory == nullptr ? 0 : page.alive; left != 0; left &= left - 1) {
          const int64_t slot = std::countr_zero(left);
          importance_[static_cast<size_t>(cache.position(s.layer, page, slot))] += sums[slot];
        }
        sums += kMaxPageTokens;
      }
    }
    add_head_outputs(l, s);
    Trace& trace = traces_[l];
    trace.flat += s.flat_rows, trace.values += s.values_read;
    if (tokens_ == 1) trace.steps += static_cast<int64_t>(alive_heads_[l].size());
    trace.pairs += pairs_of(l, s);
  }

  // What is no longer attended goes for good; so does a KV head without query heads.
  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override {
    const auto l = static_cast<size_t>(layer);
    const int64_t group = layers_[l].heads / layers_[l].kv_heads;
    for (int64_t g = 0; g < cache.kv_heads(layer); ++g) {
      bool lives = false;
      for (int64_t h = g * group; h < (g + 1) * group; ++h) lives |= head_lives(l, static_cast<int32_t>(h));
      if (!lives) cache.drop_between(layer, g, 0, length);
      else if (!removed_[l].empty()) drop_removed(cache, layer, g);
      if (!lives || !removed_[l].empty()) cache.compact(layer, g);
    }
    removed_[l].clear();
  }

  Json report() const override {
    Json layers = Json::array();
    for (size_t l = 0; l < layers_.size(); ++l) {
      const Trace& t = traces_[l];
      layers.push_back({{"tokens", attended_[l].size()},
                        {"token_ids", attended_[l]},
                        {"heads", alive_heads_[l]},
                        {"values_read", t.pairs == 0 ? 1.0 : static_cast<double>(t.values) / static_cast<double>(t.pairs)},
                        {"low_bits_read", t.steps == 0 ? 0.0 : static_cast<double>(t.flat) / static_cast<double>(t.steps)}});
    }
    return {{"layers", layers}};
  }

 private:
  struct Trace {
    int64_t flat = 0, steps = 0;     // (head, query) pairs while decoding
    uint64_t values = 0, pairs = 0;  // read, seen
  };

  void choose_tokens(size_t l) {
    // What this layer still holds and the new tokens, as far as the layer before attended to them.
    auto &held = held_, &candidates = candidates_;
    held.assign(attended_[l].begin(), attended_[l].end()), candidates.clear();
    for (int64_t t = first_; t < first_ + tokens_; ++t) held.push_back(static_cast<int32_t>(t));
    if (l == 0) candidates.assign(held.begin(), held.end());
    else std::set_intersection(held.begin(), held.end(), attended_[l - 1].begin(), attended_[l - 1].end(), std::back_inserter(candidates));
    // A prompt's shares are of what there is of it.
    const int64_t reference = tokens_ == 1 && first_ > 0 ? options_.reference : first_ + tokens_;
    const int64_t count = keep_count(options_.tokens[l], reference);
    const auto recent = static_cast<size_t>(std::min({options_.recent, count, static_cast<int64_t>(candidates.size())}));
    ranking_.choose(candidates, importance(), count, std::span<const int32_t>(candidates).last(recent), attended_[l]);
    removed_[l].clear();
    std::set_difference(held.begin(), held.end(), attended_[l].begin(), attended_[l].end(), std::back_inserter(removed_[l]));
  }

  // By what tokens are ranked.
  std::span<const float> importance() {
    if (options_.rank == SpattenOptions::kMost) return importance_;
    control_.resize(importance_.size());
    Rng rng(options_.seed, "spatten/control");
    for (size_t t = 0; t < control_.size(); ++t) control_[t] = options_.rank == SpattenOptions::kLeast ? -importance_[t] : static_cast<float>(rng.uniform());
    return control_;
  }

  // Once: with the first forward, or, by their own outputs in it, with the second. What a head has missed cannot be made up
  // for.
  void choose_heads(size_t l) {
    if (heads_chosen_[l] != 0) return;
    std::vector<int32_t> all;
    for (int64_t h = 0; h < layers_[l].heads; ++h) all.push_back(static_cast<int32_t>(h));
    heads_chosen_[l] = !options_.by_layer || first_ > 0;
    const bool same = !options_.by_layer && l > 0 && layers_[l - 1].heads == layers_[l].heads;
    const int64_t count = heads_chosen_[l] != 0 ? keep_count(options_.heads[l], layers_[l].heads) : layers_[l].heads;
    ranking_.choose(same ? alive_heads_[l - 1] : all, head_importance_[l], count, {}, alive_heads_[l]);
  }

  bool head_lives(size_t l, int32_t head) const { return std::binary_search(alive_heads_[l].begin(), alive_heads_[l].end(), head); }

  // Head h of a layer is judged by heads h of the layers before, which is how it is published; or by itself.
  void add_head_outputs(size_t l, const AttentionStatistics& s) {
    const int64_t size = layers_[l].head_size;
    std::vector<float>& sums = head_sums_;
    sums = head_importance_[l];
    for (int64_t t = 0; t < s.tokens; ++t) {
      if (!attends(s.layer, s.position + t)) continue;
      for (const int32_t h : alive_heads_[l]) {
        const float* out = s.input->out + (s.position - first_ + t) * s.input->out_stride + h * size;
        for (int64_t c = 0; c < size; ++c) sums[static_cast<size_t>(h)] += std::fabs(out[c]);
      }
    }
    const size_t judged = options_.by_layer ? l : l + 1;
    if (judged < layers_.size() && head_importance_[judged].size() == sums.size()) head_importance_[judged] = sums;
  }

  // (row, key) pairs of live heads, all of which would read their value.
  uint64_t pairs_of(size_t l, const AttentionStatistics& s) const {
    uint64_t pairs = 0;
    for (int64_t t = 0; t < s.tokens; ++t) {
      const bool useful = attends(s.layer, s.position + t);
      if (needs_.blind && !useful) continue;
      const auto& list = attended_[l];
      pairs += !useful;  // its own
      pairs += static_cast<uint64_t>(std::upper_bound(list.begin(), list.end(), static_cast<int32_t>(s.position + t)) - list.begin());
    }
    return pairs * alive_heads_[l].size();
  }

  void drop_removed(PagedKvCache& cache, int layer, int64_t g) const {
    const auto& removed = removed_[static_cast<size_t>(layer)];
    const KvHead& head = cache.head(layer, g);
    for (size_t i = 0; i < head.pages.size(); ++i) {
      const KvPage page = head.pages[i];
      for (uint64_t left = page.memory == nullptr ? 0 : page.alive; left != 0; left &= left - 1) {
        const int64_t slot = std::countr_zero(left);
        if (std::binary_search(removed.begin(), removed.end(), cache.position(layer, page, slot))) cache.drop_slot(layer, g, static_cast<int64_t>(i), slot);
      }
    }
  }

  SpattenOptions options_;
  PolicyNeeds needs_;
  std::vector<AttentionLayer> layers_;
  std::vector<float> importance_;                    // of each token, over the whole network
  std::vector<float> control_;
  std::vector<std::vector<float>> head_importance_;  // of each head on entering the layer
  std::vector<std::vector<int32_t>> attended_, removed_, alive_heads_;  // by layer, ascending
  std::vector<int32_t> held_, candidates_;  // of the layer that chooses
  std::vector<float> head_sums_;            // of the layer that ran
  ImportanceRanking ranking_;
  std::vector<uint8_t> heads_chosen_;
  std::vector<Trace> traces_;
  int64_t first_ = 0, tokens_ = 0;  // of the forward
};

std::vector<double> shares_of(const PolicyContext& c, const std::string& list, const std::string& word) {
  const auto layers = static_cast<int64_t>(c.layers.size());
  std::vector<double> shares;
  if (c.has(list)) {
    const std::string text = c.text(list);
    for (size_t at = 0; at <= text.size();) {
      const size_t end = std::min(text.find(',', at), text.size());
      double share = 0;
      const auto read = std::from_chars(text.data() + at, text.data() + end, share);
      if (read.ec != std::errc() || read.ptr != text.data() + end) c.fail(list, "numbers with commas between them", printable(text));
      shares.push_back(share);
      at = end + 1;
    }
  } else {
    shares = keep_schedule(layers, c.real(word + "_front", 0, 1), c.real(word + "_start", 0, 1), c.real(word + "_end", 0, 1));
  }
  if (static_cast<int64_t>(shares.size()) != layers) c.fail(list, fmt::format("{} shares, one for each layer", layers), fmt::format("{}", shares.size()));
  for (size_t l = 0; l < shares.size(); ++l) {
    if (!(shares[l] > 0 && shares[l] <= 1)) c.fail(list, "shares above 0 and up to 1", fmt::format("{} in layer {}", shares[l], l));
    if (l > 0 && shares[l] > shares[l - 1]) c.fail(list, "shares that do not rise from layer to layer", fmt::format("{} after {} in layer {}", shares[l], shares[l - 1], l));
  }
  return shares;
}

KeyBits bits_of(const PolicyContext& c) {
  KeyBits bits;
  if (!c.has("key_bits")) return bits;
  const std::string text = c.text("key_bits");
  const char* end = text.data() + text.size();
  const auto high = std::from_chars(text.data(), end, bits.high);
  const bool plus = high.ec == std::errc() && high.ptr != end && *high.ptr == '+';
  const auto low = plus ? std::from_chars(high.ptr + 1, end, bits.low) : high;
  if (!plus || low.ec != std::errc() || low.ptr != end || bits.high < 2 || bits.high > kMostHighBits || bits.low < 0 || bits.low > kMostLowBits)
    c.fail("key_bits", fmt::format("HIGH+LOW bits, 2 to {} and 0 to {}", kMostHighBits, kMostLowBits), printable(text));
  return bits;
}

// GPT-2 medium's shares of the released workload: layers up to each bound.
std::vector<double> steps(std::initializer_list<std::pair<size_t, double>> bounds) {
  std::vector<double> shares;
  for (const auto& [end, share] : bounds) shares.resize(end, share);
  return shares;
}

std::unique_ptr<AttentionPolicy> make(const PolicyContext& c) {
  SpattenOptions options;
  if (c.choice("preset", {"none", "gpt2-medium"}) == 1) {
    if (c.layers.size() != 24) c.fail("preset", "a model of 24 layers for gpt2-medium", fmt::format("{}", c.layers.size()));
    for (const char* other : {"tokens", "heads", "values", "value_count", "key_bits", "flat"})
      if (c.given->count(other) > 0) c.fail(other, "nothing beside a preset", c.text(other));
    options.tokens = steps({{2, 1.0}, {3, 0.9}, {5, 0.8}, {11, 0.6}, {24, 0.3}});
    options.heads = steps({{16, 1.0}, {22, 13.0 / 16}, {24, 10.0 / 16}});
    options.values = 0.3, options.bits = {8, 4}, options.flat = 0.05;
  } else {
    options.tokens = shares_of(c, "tokens", "token");
    options.heads = shares_of(c, "heads", "head");
    options.values = c.real("values", 0, 1);
    if (c.has("value_count")) options.value_count = c.integer("value_count", 1, c.capacity);
    options.bits = bits_of(c);
    options.flat = c.real("flat", 0, 1);
  }
  if (options.tokens.front() != 1) c.fail("tokens", "1 for the first layer, which knows nothing of its tokens", fmt::format("{}", options.tokens.front()));
  if (!(options.values > 0)) c.fail("values", "more than 0", "0");
  options.recent = c.integer("recent", 1, c.capacity);
  options.reference = c.has("reference") ? c.integer("reference", 1, c.capacity) : c.capacity;
  options.by_layer = c.choice("head_scope", {"network", "layer"}) == 1;
  options.all_rows = c.choice("rows", {"attended", "all"}) == 1;
  constexpr decltype(options.rank) kRanks[] = {SpattenOptions::kMost, SpattenOptions::kLeast, SpattenOptions::kRandom};
  options.rank = kRanks[c.choice("rank", {"most", "least", "random"})];
  options.seed = c.seed;
  return std::make_unique<Spatten>(c.layers, c.capacity, std::move(options));
}

const RegisterPolicy registered(
    {"02-spatten", "SpAtten", 2021, "tokens and heads that got or gave little leave all later layers; few values; keys in bit planes",
     {{"tokens", "text", "", "numbers in (0, 1]", "share of the tokens that each layer attends to, with commas, never rising; instead of the next three"},
      {"token_front", "real", "0.15", "0 … 1", "share of the layers, from the first, that keep all tokens"},
      {"token_start", "real", "0.9", "0 … 1", "share kept in the first layer after them"},
      {"token_end", "real", "0.3", "0 … 1", "share kept in the last layer"},
      {"heads", "text", "", "numbers in (0, 1]", "the same of query heads, instead of the next three"},
      {"head_front", "real", "0.3", "0 … 1", "share of the layers that keep all heads"},
      {"head_start", "real", "1", "0 … 1", "share kept in the first layer after them"},
      {"head_end", "real", "1", "0 … 1", "share kept in the last layer"},
      {"head_scope", "text", "network", "network, layer", "heads are judged by heads of the same number in all layers before, or by themselves after the first forward"},
      {"values", "real", "1", "0 … 1", "share of a row's probabilities, the largest, that are multiplied with values"},
      {"value_count", "int", "", "1 … context", "the same as a number, instead of a share"},
      {"key_bits", "text", "", "HIGH+LOW", "keys in planes of so many bits, as 8+4; by default as --cache says"},
      {"flat", "real", "0.1", "0 … 1", "a decoded row whose largest probability by high bits is below this reads the low ones too"},
      {"recent", "int", "1", "1 … context", "last tokens that stay in any case, inside the share"},
      {"reference", "int", "", "1 … context", "tokens that shares are of while decoding; by default all that the sequence may have"},
      {"rows", "text", "all", "attended, all", "whether queries of removed tokens go on, with their own keys, so that their logits exist; nothing later depends on them"},
      {"rank", "text", "most", "most, least, random", "which tokens stay: the most looked-at; the others are controls"},
      {"preset", "text", "none", "none, gpt2-medium", "all of this as in the released workload"}},
     make});

}  // namespace
}  // namespace espalier::spatten_policy
