// Baseline SET (2018): a sparse network of ERK's densities that swaps its smallest weights for random ones after every epoch.
#include "espalier/core/error.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training/sparse_training.h"

namespace espalier::set_method {
namespace {

constexpr const char* kId = "set";

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  DynamicSparse settings = sparse_start(kId, request);
  const OptionValues& options = request.options;
  const int64_t interval = options.has("interval") ? options.integer("interval", 1, int64_t{1} << 40) : request.steps_an_epoch;
  settings.swaps = SwapPlan{.interval = interval, .end = request.steps, .high = options.real("swap_rate", 0, 1), .constant = true, .growth = Growth::kRandom};
  return make_dynamic_sparse(std::move(settings));
}

Reproduction reproduce(ReproduceContext& context) {
  return against_a_fixed_mask(context, kId, 920, {}, "swapping weights at random beats a fixed random mask of the same densities");
}

const RegisterMethod registered(
    {.id = kId,
     .name = "SET",
     .year = 2018,
     .kind = "Plugin",
     .taxonomy = {{"weight"}, "specific", {"during"}, "labelled", "magnitude + random regrowth", "dynamic sparse training", "local", "iterative", "full", "", {"cnn", "vit", "llm"}},
     .needs = {"data", "training"},
     .options = {{"start", "text", "erk", "erk, uniform", "densities of the layers"},
                 {"interval", "int", "", "> 0", "steps between swaps; empty: an epoch"},
                 {"swap_rate", "real", "0.3", "0 to 1", "share of a layer's weights that is swapped"},
                 {"exclude", "text", "", "patterns with ; between", "weights that stay dense"}},
     .default_of = "params",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::set_method
