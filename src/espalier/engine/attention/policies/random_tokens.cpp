// The control of every comparison: uniform random scores, drawn for each layer, KV head and position.
#include "espalier/core/error.h"
#include "espalier/core/rng.h"
#include "espalier/engine/attention/policies/evicting.h"

namespace espalier::random_tokens_policy {
namespace {

class RandomTokens : public EvictingPolicy {
 public:
  RandomTokens(const EvictionOptions& options, uint64_t seed) : EvictingPolicy(options), seed_(seed) {}

  void begin_sequence(PagedKvCache& cache) override {
    for (int64_t layer = 0; layer < cache.layers(); ++layer) {
      auto& heads = streams_.emplace_back();
      for (int64_t g = 0; g < cache.kv_heads(layer); ++g) heads.push_back({Rng(seed_, fmt::format("random-tokens/{}/{}", layer, g)), 0});
    }
  }

  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override {
    for (int64_t g = 0; g < cache.kv_heads(layer); ++g) draw(cache, layer, g, length);
    EvictingPolicy::end_chunk(cache, layer, length);
  }

 private:
  struct Stream {
    Rng rng;
    int64_t drawn;  // positions before this one have their number
  };

  // New tokens lie in order of position, and none is dropped before it has its number.
  void draw(PagedKvCache& cache, int layer, int64_t g, int64_t length) {
    Stream& stream = streams_[static_cast<size_t>(layer)][static_cast<size_t>(g)];
    for (const KvPage& page : cache.head(layer, g).pages)
      for (int64_t slot = 0; slot < page.used; ++slot)
        if ((page.alive >> slot & 1) != 0 && cache.position(layer, page, slot) >= stream.drawn)
          cache.extra(layer, page, 0)[slot] = static_cast<float>(stream.rng.uniform());
    stream.drawn = length;
  }

  uint64_t seed_;
  std::vector<std::vector<Stream>> streams_;  // by layer and head
};

const RegisterPolicy registered({"random-tokens", "Random tokens", 0, "random tokens of a budget; the control of every comparison",
                                 eviction_options("0"), [](const PolicyContext& c) -> std::unique_ptr<AttentionPolicy> {
                                   return std::make_unique<RandomTokens>(read_eviction(c), c.seed);
                                 }});

}  // namespace
}  // namespace espalier::random_tokens_policy
