// DeltaLLM ("DeltaLLM: A Training-Free Framework Exploiting Temporal Sparsity for Efficient Edge LLM Inference", 2025): keys
// as differences of neighbours, small ones set to zero, whose products with queries are skipped. Near keys are read as they
// are: sinks, the query's own block in the prompt, and the last `decode_window` tokens afterwards. Differences are taken of
// rotated keys: before the rotation there would be fewer, but scores could not be summed up from them.
#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/engine/attention/delta_rows.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/attention/rotary_rows.h"

namespace espalier::delta_llm_policy {
namespace {

struct DeltaOptions {
  double threshold = 0.6;
  bool relative = false;       // in standard deviations of the layer's keys
  int64_t block = 0;           // exact in the prompt, 0: none
  bool band = false;           // as a sliding window
  int64_t sink = 0, decode_window = 1;
  int64_t prompt = 0;          // tokens; 0: forwards of one token are decoding
  bool prefill = true, decode = true;  // where differences are used
  bool drop_keys = false;      // storage form B
  int64_t length = 0;          // of which the block is a share
};

class DeltaLlm : public AttentionPolicy, public FarKeys {
 public:
  DeltaLlm(std::span<const AttentionLayer> layers, const DeltaOptions& options)
      : options_(options), layers_(layers.begin(), layers.end()), rotation_(layers), thresholds_(layers.size(), static_cast<float>(options.threshold)) {
    needs_.on_append = true;
    needs_.end_chunk = true;
    near_.sink = options.sink;
    (options.band ? near_.window : near_.block) = options.prefill ? options.block : NearRegion::kAll;
    near_.decode_window = options.decode ? options.decode_window : NearRegion::kAll;
    for (const AttentionLayer& layer : layers) {
      rows_.emplace_back(static_cast<size_t>(layer.kv_heads), DeltaRows(layer.head_size, needs_.cache.page));
      key_.resize(std::max(key_.size(), static_cast<size_t>(layer.head_size)));
    }
  }

  const PolicyNeeds& needs() const override { return needs_; }
  const FarKeys* far_keys() const override { return this; }
  const NearRegion& near_region() const override { return near_; }

  void before_forward(PagedKvCache&, int64_t position, int64_t tokens) override {
    near_.decode = options_.prompt > 0 ? options_.prompt : tokens == 1 ? position : NearRegion::kAll;
    rotation_.prepare(tokens, [&](int64_t t) { return position + t; });
    first_ = position, tokens_ = tokens;
    for (auto& heads : rows_)
      for (DeltaRows& rows : heads) rows.reserve(tokens);
  }

  void on_append(PagedKvCache&, const AppendedTokens& added) override {
    const auto layer = static_cast<size_t>(added.layer);
    if (options_.relative && rows_[layer][0].tokens() == 0) thresholds_[layer] *= deviation(added);
    for (size_t g = 0; g < rows_[layer].size(); ++g)
      for (int64_t t = 0; t < added.tokens; ++t) rows_[layer][g].append(rotated(added, t, static_cast<int64_t>(g)), thresholds_[layer]);
  }

  FarCounts scores(int layer, int64_t kv_head, int64_t page, FarRows& rows, const uint64_t* masks, uint64_t seen, float* scores) const override {
    return rows_[static_cast<size_t>(layer)][static_cast<size_t>(kv_head)].scores(page, rows, masks, seen, scores);
  }

  // Keys that neither a prompt that goes on nor decoding will see as they are.
  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override {
    NearRegion prompt = near_;
    prompt.decode = NearRegion::kAll;
    const bool decodes = length > near_.decode;
    const int64_t decoding = near_.decode_window > length ? 0 : length - near_.decode_window + 1;
    const int64_t from = decodes ? decoding : std::min(decoding, prompt.first(length));
    for (int64_t g = 0; g < cache.kv_heads(layer); ++g) {
      const KvHead& head = cache.head(layer, g);
      for (size_t i = 0; options_.drop_keys && i < head.pages.size(); ++i) {
        const KvPage& page = head.pages[i];
        if (page.first >= near_.sink && page.last < from && page.used == cache.options().page) cache.drop_keys(layer, g, static_cast<int64_t>(i));
      }
      // A prompt was given more room than its differences need.
      if (tokens_ > 1) rows_[static_cast<size_t>(layer)][static_cast<size_t>(g)].shrink();
    }
    if (static_cast<size_t>(layer) + 1 < layers_.size()) return;
    uint64_t bytes = 0;
    for (const auto& heads : rows_)
      for (const DeltaRows& rows : heads) bytes += rows.bytes();
    cache.set_policy_bytes(bytes);
  }

  // Shares of zeros among the differences; effective: outside of the exact region, as the paper's code reports it.
  Json report() const override {
    Json layers = Json::array();
    double sum = 0;
    for (size_t l = 0; l < rows_.size(); ++l) {
      uint64_t stored = 0, all = 0;
      for (const DeltaRows& rows : rows_[l]) stored += rows.stored(), all += static_cast<uint64_t>(rows.tokens() * layers_[l].head_size);
      const double sparsity = all == 0 ? 0 : 1 - static_cast<double>(stored) / static_cast<double>(all);
      layers.push_back({{"sparsity", sparsity}, {"effective_sparsity", sparsity * (1 - exact_share())}});
      sum += sparsity;
    }
    const double mean = rows_.empty() ? 0 : sum / static_cast<double>(rows_.size());
    return {{"block", options_.block}, {"sparsity", mean}, {"effective_sparsity", mean * (1 - exact_share())}, {"layers", layers}};
  }

 private:
  double exact_share() const { return std::min(1.0, static_cast<double>(options_.block) / static_cast<double>(options_.length)); }

  const float* rotated(const AppendedTokens& added, int64_t t, int64_t g) {
    const int64_t size = layers_[static_cast<size_t>(added.layer)].head_size;
    std::copy_n(added.input->k + t * added.input->k_stride + g * size, size, key_.data());
    rotation_.rotate(added.layer, added.position - first_ + t, key_.data());
    return key_.data();
  }

  // Of all channels of the layer's first keys.
  float deviation(const AppendedTokens& added) {
    const AttentionLayer& layer = layers_[static_cast<size_t>(added.layer)];
    double sum = 0, squares = 0;
    for (int64_t t = 0; t < added.tokens; ++t)
      for (int64_t g = 0; g < layer.kv_heads; ++g) {
        const float* key = rotated(added, t, g);
        for (int64_t c = 0; c < layer.head_size; ++c) sum += static_cast<double>(key[c]), squares += static_cast<double>(key[c]) * static_cast<double>(key[c]);
      }
    const auto count = static_cast<double>(added.tokens * layer.kv_heads * layer.head_size);
    return static_cast<float>(std::sqrt(std::max(0.0, squares / count - sum / count * sum / count)));
  }

  DeltaOptions options_;
  PolicyNeeds needs_;
  std::vector<AttentionLayer> layers_;
  RotaryRows rotation_;
  NearRegion near_;
  std::vector<float> thresholds_;             // by layer
  std::vector<std::vector<DeltaRows>> rows_;  // by layer and KV head
  std::vector<float> key_;
  int64_t first_ = 0, tokens_ = 0;  // of the forward: position of its first token, and how many
};

std::unique_ptr<AttentionPolicy> make(const PolicyContext& c) {
  DeltaOptions options;
  options.threshold = c.real("threshold", 0, 1e30);
  options.relative = c.choice("relative", {"false", "true"}) == 1;
  options.prompt = c.has("prompt") ? c.integer("prompt", 1, c.capacity) : 0;
  options.length = options.prompt > 0 ? options.prompt : c.capacity;
  if (c.has("block") && c.given->count("scale") > 0) c.fail("block", "no scale beside it", "scale=" + c.text("scale"));
  options.block = c.has("block") ? c.integer("block", 0, c.capacity) : round_half_even(c.real("scale", 0, 1) * static_cast<double>(options.length));
  options.band = c.choice("window", {"block", "band"}) == 1;
  options.sink = c.integer("sink", 0, c.capacity);
  options.decode_window = c.has("decode_window") ? c.integer("decode_window", 1, c.capacity) : std::max<int64_t>(1, options.block);
  options.prefill = c.choice("prefill", {"false", "true"}) == 1;
  options.decode = c.choice("decode", {"false", "true"}) == 1;
  options.drop_keys = c.choice("storage", {"a", "b"}) == 1;
  return std::make_unique<DeltaLlm>(c.layers, options);
}

const RegisterPolicy registered(
    {"22-deltallm", "DeltaLLM", 2025, "keys as differences of neighbours; small ones are zero and their products skipped",
     {{"threshold", "real", "0.6", "0 …", "a channel's change from its last stored value up to this is dropped"},
      {"relative", "flag", "false", "true, false", "the threshold counts standard deviations of the layer's first keys"},
      {"scale", "real", "0.05", "0 … 1", "exact block of a prompt as a share of its length"},
      {"block", "int", "", "0 … context", "the same in tokens"},
      {"prompt", "int", "", "1 … context", "tokens of the prompt, of which scale is a share; by default all that the sequence may have, and forwards of one token are decoding"},
      {"window", "text", "block", "block, band", "exact in a prompt: the query's own block, or the last tokens"},
      {"sink", "int", "0", "0 … context", "first tokens whose keys are always exact"},
      {"decode_window", "int", "", "1 … context", "last tokens whose keys are exact while decoding; by default the block, at least 1"},
      {"prefill", "flag", "true", "true, false", "differences in the prompt"},
      {"decode", "flag", "true", "true, false", "differences while decoding"},
      {"storage", "text", "a", "a, b", "a: keys and differences; b: keys only where they are seen exactly"}},
     make});

}  // namespace
}  // namespace espalier::delta_llm_policy
