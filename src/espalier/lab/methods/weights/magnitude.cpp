// Baseline B1: the smallest |w| go.
#include "espalier/core/error.h"
#include "espalier/lab/criteria/magnitude.h"

#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/weights/block_weights.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

void prune(PruneJob& job) {
  const Pattern pattern = pattern_of(job, scope_option(job));
  prune_blocks(job, PruneWithoutData([&](const Node& node, const at::Tensor& weight) {
                 return PrunedWeight{weight, magnitude_mask(weight, pattern, node.name)};
               }));
}

Reproduction reproduce(ReproduceContext& context) {
  const double ours = context.run("magnitude", 0.5).quality.perplexity.value, random = context.mean_perplexity("random", 0.5, {}, 3);
  return {"magnitude is far better than random at 50 %", fmt::format("perplexity {:.3f} against {:.3f} (mean of 3 seeds)", ours, random),
          ours < random, {{"magnitude", ours}, {"random", random}}};
}

const RegisterMethod registered(
    {.id = "magnitude",
     .name = "Magnitude",
     .year = 2015,
     .kind = "OneShot",
     .taxonomy = {{"weight", "nm"}, "specific", {"after"}, "none", "magnitude", "", "local", "one-shot", "none", "", {"any"}},
     .needs = {},
     .options = {{"scope", "text", "layer", "layer, row", "comparison group; for the whole network see 24-global-mp"}},
     .default_of = "params",
     .of = {},
     .patterns = true,
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier
