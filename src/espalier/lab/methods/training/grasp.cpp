// Baseline GraSP (2020): before training, keep the weights whose removal would lower the flow of gradients most: w · (H g).
#include "espalier/core/error.h"
#include "espalier/lab/methods/training/sparse_training.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/loss_slopes.h"
#include "espalier/lab/training/start_masks.h"

namespace espalier::grasp_method {
namespace {

constexpr const char* kId = "grasp";

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  const double sparsity = sparsity_of(kId, request), temperature = request.options.real("temperature", 1e-6, 1e6);
  const int64_t batches = request.options.integer("batches", 1, 1'000'000);
  const auto masks = [=](Training& training, const PrunableWeights& weights) {
    LayerTensors scores = loss_curvatures(training, weights.names(), batches, temperature);
    const LayerTensors values = weights.values(training);
    for (size_t l = 0; l < scores.size(); ++l) scores[l] = scores[l] * values[l];
    return highest_scores(scores, sparsity, kId);
  };
  return make_start_masks({kId, request.options.text("exclude"), masks});
}

Reproduction reproduce(ReproduceContext& context) {
  return against_a_fixed_mask(context, kId, 460, {}, "a mask that preserves the flow of gradients, taken before training, beats a random one");
}

const RegisterMethod registered({.id = kId,
                                 .name = "GraSP",
                                 .year = 2020,
                                 .kind = "Plugin",
                                 .taxonomy = {{"weight"}, "specific", {"before"}, "labelled", "hessian-gradient product", "", "global", "one-shot", "full", "", {"cnn", "vit", "llm"}},
                                 .needs = {"data", "gradients", "training"},
                                 .options = {{"batches", "int", "4", "> 0", "batches whose products are averaged"},
                                             {"temperature", "real", "200", "above 0", "that divides the outputs, as the released code does"},
                                             {"exclude", "text", "", "patterns with ; between", "weights that stay dense"}},
                                 .default_of = "params",
                                 .of = {},
                                 .plugin = plugin,
                                 .reproduce = reproduce});

}  // namespace
}  // namespace espalier::grasp_method
