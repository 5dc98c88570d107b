// Baseline B4, SparseGPT (2023): column by column, what is removed is made good by the columns that follow.
#include "espalier/lab/criteria/sparsegpt.h"

#include "espalier/core/error.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/weights/block_weights.h"
#include "espalier/lab/torch.h"

namespace espalier::sparsegpt_method {
namespace {

void prune(PruneJob& job) {
  SparseGptOptions options;
  options.sparsity = job.sparsity();
  options.n_of_m = job.settings().pattern;
  options.run = job.settings().block;
  options.block = job.option_int("block");
  options.damp = job.option_real("damp");
  const auto counts = [&](int64_t rows, int64_t inputs, const std::string& name) { return sparsegpt_removal(rows, inputs, options, name); };
  prune_blocks(job, counts, PruneWithGram([&](const Node& node, const at::Tensor& weight, const GramAccumulator& input) {
                 const SparseGptResult result = sparsegpt(weight, input.hessian(), options, node.name);
                 return PrunedWeight{result.weight, result.keep};
               }));
}

Reproduction reproduce(ReproduceContext& context) {
  const double ours = context.run("sparsegpt", 0.5).quality.perplexity.value,
               wanda = context.run("wanda", 0.5).quality.perplexity.value;
  const double magnitude = context.run("magnitude", 0.5).quality.perplexity.value;
  return {"at 50 % SparseGPT is at least as good as Wanda and better than magnitude (LLaMA-7B: 7.22, 7.26, 17.29)",
          fmt::format("perplexity {:.3f}; Wanda {:.3f}, magnitude {:.3f}", ours, wanda, magnitude),
          ours <= 1.02 * wanda && ours < magnitude,
          {{"sparsegpt", ours}, {"wanda", wanda}, {"magnitude", magnitude}}};
}

const RegisterMethod registered(weight_method(
    {.id = "sparsegpt",
     .name = "SparseGPT",
     .year = 2023,
     .criterion = "second order",
     .data = true,
     .gram = true,
     .repair = "calibration",
     .options = {{"block", "int", "128", "a multiple of M of N:M and of a block's width", "columns whose masks are chosen together"},
                 {"damp", "real", "0.01", "> 0", "share of the Hessian's mean diagonal added to it"}},
     .prune = prune,
     .reproduce = reproduce}));

}  // namespace
}  // namespace espalier::sparsegpt_method
