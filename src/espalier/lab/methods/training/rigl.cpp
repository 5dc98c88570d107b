// Baseline RigL (2019): a sparse network of ERK's densities whose layers swap their smallest weights for those of the largest
// gradients.
#include "espalier/core/error.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training/sparse_training.h"
#include "espalier/lab/training/step_place.h"

namespace espalier::rigl_method {
namespace {

constexpr const char* kId = "rigl";

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  DynamicSparse settings = sparse_start(kId, request);
  const OptionValues& options = request.options;
  const int64_t end = step_place("rigl: option end", options.text("end"), request.steps, request.steps_an_epoch);
  settings.swaps = SwapPlan{.interval = options.integer("interval", 1, int64_t{1} << 40), .end = end, .high = options.real("swap_rate", 0, 1), .low = 0,
                            .total = std::max<int64_t>(1, end), .growth = growth_of("rigl: option growth", options.text("growth"))};
  return make_dynamic_sparse(std::move(settings));
}

Reproduction reproduce(ReproduceContext& context) {
  return against_a_fixed_mask(context, kId, 920, {{"interval", "46"}}, "swapping weights by gradient beats a fixed random mask of the same densities");
}

const RegisterMethod registered(
    {.id = kId,
     .name = "RigL",
     .year = 2019,
     .kind = "Plugin",
     .taxonomy = {{"weight"}, "specific", {"during"}, "labelled", "magnitude + gradient regrowth", "dynamic sparse training", "local", "iterative", "full", "", {"cnn", "vit", "llm"}},
     .needs = {"data", "gradients", "training"},
     .options = {{"start", "text", "erk", "erk, uniform", "densities of the layers"},
                 {"interval", "int", "100", "> 0", "steps between swaps"},
                 {"end", "text", "0.75", "steps, epochs (6ep) or a share (0.1)", "where swaps end"},
                 {"swap_rate", "real", "0.3", "0 to 1", "share of a layer's weights that is swapped at first; a cosine to 0 at the end"},
                 {"growth", "text", "gradient", "gradient, random, momentum", "where weights grow"},
                 {"exclude", "text", "", "patterns with ; between", "weights that stay dense"}},
     .default_of = "params",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::rigl_method
