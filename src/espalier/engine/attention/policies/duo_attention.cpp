// DuoAttention ("DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads", 2024): KV heads with
// a large gate keep everything, the others the first `sink` and the last `recent` tokens. Queries of a chunk see what the
// last chunk left and the chunk's own tokens up to themselves, so that a first chunk is dense; a step of decoding is a
// chunk of one token.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/engine/attention/policies/duo_gates.h"
#include "espalier/engine/attention/policy.h"

namespace espalier::duo_attention_policy {
namespace {

constexpr int64_t kSink = 64, kRecent = 256;  // of the paper's runs

class DuoAttention : public AttentionPolicy {
 public:
  DuoAttention(std::span<const AttentionLayer> layers, HeadChoice full, int64_t sink, int64_t recent, int64_t chunk)
      : full_(std::move(full)), sink_(sink), recent_(recent) {
    for (const AttentionLayer& layer : layers) windows_.push_back(layer.window);
    needs_.end_chunk = needs_.step_ends_chunk = true;
    needs_.chunk = chunk;
    needs_.cache.reuse_slots = true;
  }
  const PolicyNeeds& needs() const override { return needs_; }

  // A prompt rarely ends where a chunk does.
  void before_forward(PagedKvCache& cache, int64_t position, int64_t tokens) override {
    for (int layer = 0; tokens == 1 && layer < static_cast<int>(cache.layers()); ++layer) end_chunk(cache, layer, position);
  }

  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override {
    const auto at = static_cast<size_t>(layer);
    for (int64_t g = 0; g < cache.kv_heads(layer); ++g) {
      if (full_[at][static_cast<size_t>(g)] == 0) cache.drop_between(layer, g, sink_, length - recent_);
      if (windows_[at] > 0) cache.drop_between(layer, g, 0, length - windows_[at] + 1);
    }
  }

 private:
  PolicyNeeds needs_;
  HeadChoice full_;
  int64_t sink_, recent_;
  std::vector<int64_t> windows_;  // of the model's layers
};

// Without gates nothing can be chosen; but all or none needs no choice.
DuoGates gates_of(const PolicyContext& c) {
  if (c.has("gates")) return read_duo_gates(c.text("gates"), c.layers);
  if (const auto beside = c.model / kDuoGatesFile; !c.model.empty() && std::filesystem::exists(beside)) return read_duo_gates(beside, c.layers);
  const double sparsity = c.has("threshold") ? 0.5 : c.real("sparsity", 0, 1);
  if (sparsity > 0 && sparsity < 1)
    c.fail("gates", fmt::format("a file of gates, as `espalier analyze duo-gates MODEL` makes it, or {} beside the model", kDuoGatesFile), "none");
  DuoGates none;
  for (const AttentionLayer& layer : c.layers) none.alpha.emplace_back(static_cast<size_t>(layer.kv_heads), 1.0f);
  return none;
}

std::unique_ptr<AttentionPolicy> make(const PolicyContext& c) {
  if (c.has("threshold") && c.given->count("sparsity") > 0) c.fail("threshold", "no sparsity beside it", "sparsity=" + c.text("sparsity"));
  const DuoGates gates = gates_of(c);
  HeadChoice full =
      c.has("threshold") ? full_heads_by_threshold(gates.alpha, c.real("threshold", 0, 1)) : full_heads_by_sparsity(gates.alpha, c.real("sparsity", 0, 1));
  // Short texts need no more than they have.
  const int64_t sink = c.has("sink") ? c.integer("sink", 0, c.capacity) : std::min(gates.sink.value_or(kSink), c.capacity - 1);
  const int64_t recent = c.has("recent") ? c.integer("recent", 1, c.capacity) : std::min(gates.recent.value_or(kRecent), c.capacity - sink);
  if (const int64_t needed = sink + std::max<int64_t>(1, recent); needed > c.capacity)
    c.fail("recent", fmt::format("sink and recent together within the sequence's {} tokens", c.capacity), fmt::format("{}", needed));
  const int64_t chunk = std::min(c.capacity, c.integer("chunk", 1, std::max<int64_t>(32000, c.capacity)));
  return std::make_unique<DuoAttention>(c.layers, std::move(full), sink, recent, chunk);
}

const RegisterPolicy registered(
    {"19-duoattention", "DuoAttention", 2024, "retrieval heads keep everything, streaming heads the first and the last tokens",
     {{"gates", "text", "", "a file", "gates of the KV heads, JSON or .tsv; by default duo-gates.json beside the model"},
      {"sparsity", "real", "0.5", "0 … 1", "share of all KV heads that stream, those with the smallest gates"},
      {"threshold", "real", "", "0 … 1", "instead of sparsity: heads with a larger gate keep everything"},
      {"sink", "int", "", "0 … context", "first tokens of streaming heads; by default the gate file's, else 64"},
      {"recent", "int", "", "1 … context", "last tokens of streaming heads; by default the gate file's, else 256"},
      {"chunk", "int", "32000", "1 … context", "tokens of a prompt between two reductions; until the next one a streaming head grows by as many"}},
     make});

}  // namespace
}  // namespace espalier::duo_attention_policy
