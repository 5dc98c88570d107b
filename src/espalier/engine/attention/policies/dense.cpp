// Every query sees every earlier key. Where the model itself has a window, what it has left behind is freed.
#include "espalier/engine/attention/policy.h"

namespace espalier::dense_policy {
namespace {

class Dense : public AttentionPolicy {
 public:
  explicit Dense(std::span<const AttentionLayer> layers) {
    needs_.cache.page = kMaxPageTokens;  // all is read: fewer blocks, longer walks
    for (const AttentionLayer& layer : layers) {
      windows_.push_back(layer.window);
      needs_.end_chunk |= layer.window > 0;
    }
  }
  const PolicyNeeds& needs() const override { return needs_; }

  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override {
    const int64_t window = windows_[static_cast<size_t>(layer)];
    if (window == 0) return;
    for (int64_t g = 0; g < cache.kv_heads(layer); ++g) cache.drop_between(layer, g, 0, length - window + 1);
  }

 private:
  PolicyNeeds needs_;
  std::vector<int64_t> windows_;
};

const RegisterPolicy registered({"dense", "Dense attention", 2017, "every key is kept and read", {},
                                 [](const PolicyContext& c) -> std::unique_ptr<AttentionPolicy> { return std::make_unique<Dense>(c.layers); }});

}  // namespace
}  // namespace espalier::dense_policy
