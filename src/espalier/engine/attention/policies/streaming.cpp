// StreamingLLM ("Efficient Streaming Language Models with Attention Sinks", 2023): the first `sink` tokens and the last
// `window`, the query's own among them. A query sees the same keys however the text is cut into forwards. Positions count
// inside the cache, as in the paper: query i stands at min(i, sink + window - 1), sinks at 0 … sink - 1; distances inside
// the window are the true ones either way.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/engine/attention/policy.h"

namespace espalier::streaming_policy {
namespace {

class Streaming : public AttentionPolicy {
 public:
  Streaming(int64_t sink, int64_t window, bool true_positions) {
    needs_.end_chunk = true;
    needs_.any_length = !true_positions;
    needs_.cache.reuse_slots = true;
    needs_.selection.kind = Selection::Kind::kTokens;  // none but sink and window
    needs_.selection.sink = sink, needs_.selection.window = window;
    needs_.selection.positions = true_positions ? Selection::Positions::kTrue : Selection::Positions::kCache;
  }
  const PolicyNeeds& needs() const override { return needs_; }

  // What the next query will not see.
  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override {
    for (int64_t g = 0; g < cache.kv_heads(layer); ++g)
      cache.drop_between(layer, g, needs_.selection.sink, length - needs_.selection.window + 1);
  }

 private:
  PolicyNeeds needs_;
};

int64_t window_of(const PolicyContext& c, int64_t sink) {
  if (c.has("window")) {
    for (const char* other : {"budget", "budget_bytes"})
      if (c.has(other)) c.fail(other, "no other option beside window", c.text(other));
    return c.integer("window", 1, c.capacity);
  }
  const int64_t budget = c.has("budget") || c.has("budget_bytes") ? c.budget_tokens(KvCacheOptions().page) : std::min<int64_t>(1024, c.capacity);
  if (budget <= sink) c.fail("sink", fmt::format("fewer than the budget's {} tokens", budget), std::to_string(sink));
  return budget - sink;
}

std::unique_ptr<AttentionPolicy> make(const PolicyContext& c) {
  const int64_t sink = c.integer("sink", 0, c.capacity), window = window_of(c, sink);
  const std::string positions = c.text("positions");
  if (positions != "cache" && positions != "true") c.fail("positions", "cache or true", positions);
  return std::make_unique<Streaming>(sink, window, positions == "true");
}

const RegisterPolicy registered({"streaming", "StreamingLLM", 2023, "the first tokens and a sliding window; the rest is freed",
                                 {{"sink", "int", "4", "0 … context", "first tokens that are always kept"},
                                  {"window", "int", "", "1 … context", "last tokens that are seen, the query's own among them"},
                                  {"budget", "int", "", "sink + 1 … context", "sink and window together, instead of window; 1024 if neither is given"},
                                  {"budget_bytes", "int", "", "whole pages", "the same as bytes of the whole cache"},
                                  {"positions", "text", "cache", "cache, true", "positions of the sinks: inside the cache, or those of the text"}},
                                 make});

}  // namespace
}  // namespace espalier::streaming_policy
