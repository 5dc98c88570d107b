// Baseline SNIP (2018): before training, keep the weights whose removal would change the loss most: |w · dL/dw|.
#include "espalier/core/error.h"
#include "espalier/lab/methods/training/sparse_training.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/loss_slopes.h"
#include "espalier/lab/training/start_masks.h"

namespace espalier::snip_method {
namespace {

constexpr const char* kId = "snip";

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  const double sparsity = sparsity_of(kId, request);
  const int64_t batches = request.options.integer("batches", 1, 1'000'000);
  const auto masks = [sparsity, batches](Training& training, const PrunableWeights& weights) {
    LayerTensors scores = loss_gradients(training, weights.names(), batches);
    const LayerTensors values = weights.values(training);
    for (size_t l = 0; l < scores.size(); ++l) scores[l] = (scores[l] * values[l]).abs();
    return highest_scores(scores, sparsity, kId);
  };
  return make_start_masks({kId, request.options.text("exclude"), masks});
}

Reproduction reproduce(ReproduceContext& context) {
  return against_a_fixed_mask(context, kId, 460, {}, "a mask by the sensitivity of the loss, taken before training, beats a random one");
}

const RegisterMethod registered({.id = kId,
                                 .name = "SNIP",
                                 .year = 2018,
                                 .kind = "Plugin",
                                 .taxonomy = {{"weight"}, "specific", {"before"}, "labelled", "gradient x weight", "", "global", "one-shot", "full", "", {"cnn", "vit", "llm"}},
                                 .needs = {"data", "gradients", "training"},
                                 .options = {{"batches", "int", "4", "> 0", "batches whose gradient is averaged"},
                                             {"exclude", "text", "", "patterns with ; between", "weights that stay dense"}},
                                 .default_of = "params",
                                 .of = {},
                                 .plugin = plugin,
                                 .reproduce = reproduce});

}  // namespace
}  // namespace espalier::snip_method
