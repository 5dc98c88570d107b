// Baseline B1: the smallest |w| go.
#include "espalier/lab/criteria/magnitude.h"

#include "espalier/core/error.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/weights/block_weights.h"
#include "espalier/lab/methods/weights/global_ranking.h"
#include "espalier/lab/torch.h"

namespace espalier::magnitude_method {
namespace {

// All blocks' layers in one list; Global MP ranks the head too and can keep a minimum in every layer.
void prune_all_blocks(PruneJob& job) {
  std::vector<NodeId> linears;
  for (int block = 0; block < job.graph().block_count; ++block)
    for (NodeId linear : job.prunable_linears(block)) linears.push_back(linear);
  if (job.graph().block_count == 0) linears = layers_without_blocks(job);
  prune_globally(job, ranked_layers(job, linears), 0, MinimumRule::kExact);
}

void prune(PruneJob& job) {
  const bool global = job.option_text("scope") == "global";
  if (global && !job.settings().pattern) return prune_all_blocks(job);
  // N:M groups lie inside a row, so with a pattern the scope does not count.
  const Pattern pattern = pattern_of(job, global ? Scope::kRow : scope_option(job));
  prune_blocks(job, removed_weights(pattern), PruneWithoutData([&](const Node& node, const at::Tensor& weight) {
                 return PrunedWeight{weight, magnitude_mask(weight, pattern, node.name)};
               }));
}

Reproduction reproduce(ReproduceContext& context) {
  const double ours = context.run("magnitude", 0.5).quality.perplexity.value,
               random = context.mean_perplexity("random", 0.5, {}, 3);
  return {"magnitude is far better than random at 50 %",
          fmt::format("perplexity {:.3f} against {:.3f} (mean of 3 seeds)", ours, random),
          ours < random,
          {{"magnitude", ours}, {"random", random}}};
}

const RegisterMethod registered(weight_method(
    {.id = "magnitude",
     .name = "Magnitude",
     .year = 2015,
     .criterion = "magnitude",
     .data = false,
     .repair = "none",
     .options = {{"scope", "text", "layer", "layer, row, global", "comparison group: one matrix, one output, or all blocks"}},
     .prune = prune,
     .reproduce = reproduce}));

}  // namespace
}  // namespace espalier::magnitude_method
