// Baseline: weights removed at random. Every comparison has to contain it.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/lab/criteria/magnitude.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/weights/block_weights.h"
#include "espalier/lab/torch.h"

namespace espalier::random_method {
namespace {

void prune(PruneJob& job) {
  const Pattern pattern = pattern_of(job, scope_option(job));
  prune_blocks(job, removed_weights(pattern), PruneWithoutData([&](const Node& node, const at::Tensor& weight) {
                 return PrunedWeight{weight, random_mask(weight, pattern, job.settings().seed, node.name)};
               }));
}

Reproduction reproduce(ReproduceContext& context) {
  const double dense = context.dense().perplexity.value;
  const double first = context.run("random", 0.5, {}, 0).quality.perplexity.value,
               second = context.run("random", 0.5, {}, 1).quality.perplexity.value;
  return {"the control: half of the weights removed at random ruins a model, whatever the seed",
          fmt::format("perplexity {:.1f} and {:.1f} (two seeds) from {:.3f}", first, second, dense),
          std::min(first, second) > 2 * dense,
          {{"dense", dense}, {"seed_0", first}, {"seed_1", second}}};
}

const RegisterMethod registered(weight_method(
    {.id = "random",
     .name = "Random weights",
     .year = 0,
     .criterion = "none: uniform random scores",
     .data = false,
     .repair = "none",
     .options = {{"scope", "text", "layer", "layer, row", "comparison group: exactly this share of each is removed"}},
     .prune = prune,
     .reproduce = reproduce}));

}  // namespace
}  // namespace espalier::random_method
