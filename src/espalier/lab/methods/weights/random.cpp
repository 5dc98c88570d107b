// Baseline: weights removed at random. Every comparison has to contain it.
#include "espalier/lab/criteria/magnitude.h"
#include "espalier/lab/methods/weights/block_weights.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

void prune(PruneJob& job) {
  const Pattern pattern = pattern_of(job, scope_option(job));
  prune_blocks(job, PruneWithoutData([&](const Node& node, const at::Tensor& weight) {
                 return PrunedWeight{weight, random_mask(weight, pattern, job.settings().seed, node.name)};
               }));
}

const RegisterMethod registered({.id = "random",
                                 .name = "Random weights",
                                 .year = 0,
                                 .kind = "OneShot",
                                 .taxonomy = {{"weight", "nm"}, "specific", {"after"}, "none", "none: uniform random scores", "", "local", "one-shot", "none", "", {"any"}},
                                 .needs = {},
                                 .options = {{"scope", "text", "layer", "layer, row", "comparison group: exactly this share of each is removed"}},
                                 .default_of = "params",
                                 .of = {},
                                 .patterns = true,
                                 .prune = prune});

}  // namespace
}  // namespace espalier
