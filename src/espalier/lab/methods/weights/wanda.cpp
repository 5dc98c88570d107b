// Baseline B2, Wanda (2023): |W_ij| · ‖X_j‖₂, the lowest of every output row go; no weight update.
#include "espalier/lab/criteria/wanda.h"

#include "espalier/core/error.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/weights/block_weights.h"
#include "espalier/lab/torch.h"

namespace espalier::wanda_method {
namespace {

void prune(PruneJob& job) {
  const Pattern pattern = pattern_of(job, scope_option(job));
  prune_blocks(job, removed_weights(pattern), PruneWithNorms([&](const Node& node, const at::Tensor& weight, const ColumnNorms& input) {
                 return PrunedWeight{weight, wanda_mask(weight, input.norms(), pattern, node.name)};
               }));
}

Reproduction reproduce(ReproduceContext& context) {
  const double ours = context.run("wanda", 0.5).quality.perplexity.value,
               magnitude = context.run("magnitude", 0.5).quality.perplexity.value;
  const double random = context.mean_perplexity("random", 0.5, {}, 3);
  return {"at 50 % Wanda loses less than magnitude (LLaMA-7B: 7.26 against 17.29 from 5.68)",
          fmt::format("perplexity {:.3f}; magnitude {:.3f}, random {:.3f}, dense {:.3f}", ours, magnitude, random,
                      context.dense().perplexity.value),
          ours < magnitude && magnitude < random,
          {{"wanda", ours}, {"magnitude", magnitude}, {"random", random}}};
}

const RegisterMethod registered(weight_method(
    {.id = "wanda",
     .name = "Wanda",
     .year = 2023,
     .criterion = "magnitude times input norm",
     .data = true,
     .repair = "calibration",
     .options = {{"scope", "text", "row", "row, layer", "comparison group: one output or one matrix"}},
     .prune = prune,
     .reproduce = reproduce}));

}  // namespace
}  // namespace espalier::wanda_method
