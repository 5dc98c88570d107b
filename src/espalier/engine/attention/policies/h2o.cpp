// H2O ("H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models", 2023): the tokens that got
// the most attention so far, and the last ones. Score of a token: its softmax probabilities summed over all queries so
// far and, for each KV head, over the query heads of its group.
#include "espalier/engine/attention/policies/evicting.h"

namespace espalier::h2o_policy {
namespace {

class HeavyHitters : public EvictingPolicy {
 public:
  explicit HeavyHitters(const EvictionOptions& options) : EvictingPolicy(options) { needs_.column_sums = true; }

  void after_attention(PagedKvCache& cache, const AttentionStatistics& statistics) override {
    for (int64_t g = 0; g < cache.kv_heads(statistics.layer); ++g) {
      const float* sums = statistics.column_sums + g * statistics.column_stride;
      for (const KvPage& page : cache.head(statistics.layer, g).pages) {
        if (page.memory != nullptr) {
          float* score = cache.extra(statistics.layer, page, 0);
          for (int64_t slot = 0; slot < page.used; ++slot) score[slot] += sums[slot];
        }
        sums += kMaxPageTokens;
      }
    }
  }
};

const RegisterPolicy registered({"h2o", "H2O", 2023, "the tokens that got the most attention, and the last ones",
                                 eviction_options("0.5"), [](const PolicyContext& c) -> std::unique_ptr<AttentionPolicy> {
                                   return std::make_unique<HeavyHitters>(read_eviction(c));
                                 }});

}  // namespace
}  // namespace espalier::h2o_policy
