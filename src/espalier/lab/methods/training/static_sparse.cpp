// Baseline: a random mask of ERK's densities, fixed from the start. What every sparse training has to beat.
#include "espalier/core/error.h"
#include "espalier/lab/methods/training/sparse_training.h"
#include "espalier/lab/methods/training_arm.h"
#include "espalier/lab/training/small_networks.h"

namespace espalier::static_sparse_method {
namespace {

constexpr const char* kId = "static-sparse";

std::unique_ptr<Plugin> plugin(const PluginRequest& request) { return make_dynamic_sparse(sparse_start(kId, request)); }

Reproduction reproduce(ReproduceContext& context) {
  constexpr uint64_t kSeeds = 3;
  double erk = 0, uniform = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    for (const char* start : {"erk", "uniform"}) {
      Model model = small_convnet(seed);
      const double accuracy = training_arm(context, model, {.method = kId, .options = {{"start", start}}, .sparsity = 0.98, .seed = seed}).accuracy;
      (start == std::string("erk") ? erk : uniform) += 100 * accuracy / kSeeds;
    }
  }
  return {"densities by the kernel rule train better than the same density everywhere",
          fmt::format("98 % of a small convolutional network's weights, 300 steps, mean of {} seeds: top-1 {:.1f} % with ERK, {:.1f} % with equal densities", kSeeds, erk, uniform),
          erk > uniform,
          {{"erk", erk}, {"uniform", uniform}}};
}

const RegisterMethod registered({.id = kId,
                                 .name = "Static sparse training",
                                 .year = 2019,
                                 .kind = "Plugin",
                                 .taxonomy = {{"weight"}, "specific", {"before"}, "labelled", "random", "", "global", "one-shot", "full", "", {"cnn", "vit", "llm"}},
                                 .needs = {"data", "training"},
                                 .options = {{"start", "text", "erk", "erk, uniform", "densities of the layers"},
                                             {"exclude", "text", "", "patterns with ; between", "weights that stay dense"}},
                                 .default_of = "params",
                                 .of = {},
                                 .plugin = plugin,
                                 .reproduce = reproduce});

}  // namespace
}  // namespace espalier::static_sparse_method
