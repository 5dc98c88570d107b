// Baseline B7, ShortGPT (2024): the blocks whose output points where their input does go, all at once.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/criteria/block_influence.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/surgery.h"

namespace espalier::shortgpt_method {
namespace {

bool has_protected_node(const PruneJob& job, int block) {
  const auto nodes = job.graph().nodes_of_block(block);
  return std::any_of(nodes.begin(), nodes.end(), [&](NodeId n) { return job.is_protected(job.graph().nodes[static_cast<size_t>(n)].name); });
}

// One influence a block, from one forward of the dense model.
Json block_influences(PruneJob& job) {
  Json scores = Json::array();
  job.for_each_block(
      job.windows(), 4096,
      [&](BlockStream& stream, int block, Json& state) {
        BlockInfluence one(1);
        const NodeId last = job.graph().nodes_of_block(block).back();
        size_t batch = 0;
        Observer observer;
        observer.after = [&](NodeId n, const Node&, std::vector<at::Tensor>& outputs) {
          if (n == last) one.add(0, stream.hidden()[batch], outputs[0]);
        };
        stream.observe(observer, [&](size_t b) { batch = b; });
        state.push_back(one.influence()[0].item<double>());
      },
      scores);
  return scores;
}

void prune(PruneJob& job) {
  Graph& graph = job.graph();
  const std::string order = job.option_text("order");
  if (order != "lowest" && order != "highest" && order != "random") throw UserError("shortgpt", "option order", "lowest, highest or random", printable(order));
  const bool random = order == "random" || job.trial();
  const Json scores = random ? Json() : block_influences(job);
  Rng rng = job.rng("order");
  std::vector<float> values;
  std::vector<int> open;  // blocks that may go
  for (int block = 0; block < graph.block_count; ++block) {
    if (has_protected_node(job, block)) continue;
    open.push_back(block);
    const float score = random ? static_cast<float>(rng.uniform()) : scores.at(static_cast<size_t>(block)).get<float>();
    values.push_back(order == "highest" ? -score : score);
  }
  const int64_t count = removal_count(job.sparsity(), graph.block_count);
  if (count > std::ssize(open)) throw UserError("shortgpt", "blocks to remove", fmt::format("at most {} that are not protected", open.size()), fmt::format("{}", count));
  std::vector<int> blocks;
  for (int64_t place : select_smallest(values, count)) {
    const int block = open[static_cast<size_t>(place)];
    blocks.push_back(block);
    job.note_removed({{"unit", "layer"}, {"node", fmt::format("blocks.{}", block)}, {"indices", {block}}});
  }
  job.findings() = {{"removed", blocks}};
  if (!random) job.findings()["block_influence"] = scores;
  job.reached(static_cast<double>(blocks.size()) / static_cast<double>(graph.block_count));
  if (!blocks.empty()) remove_blocks(graph, blocks, job.model().family ? job.model().family->block_prefix(graph) : "");
}

Reproduction reproduce(ReproduceContext& context) {
  constexpr double kOneInSix = 1.0 / 6 + 1e-9;
  const auto lowest = context.run("shortgpt", kOneInSix);
  const double random = context.mean_perplexity("shortgpt", kOneInSix, {{"order", "random"}}, 3);
  return {"blocks of low influence can go; others cannot (Llama-2-7B at 25 %: 5.12 to 23.41)",
          fmt::format("a sixth of the blocks removed: lowest influence {:.3f}, random {:.3f} (mean of 3 seeds), dense {:.3f}",
                      lowest.quality.perplexity.value, random, context.dense().perplexity.value),
          lowest.quality.perplexity.value < random, lowest.findings};
}

const RegisterMethod registered(
    {.id = "shortgpt",
     .name = "ShortGPT",
     .year = 2024,
     .kind = "OneShot",
     .taxonomy = {{"layer"}, "universal", {"after"}, "unlabelled", "block influence", "", "global", "one-shot", "none", "", {"llm"}},
     .needs = {"data"},
     .options = {{"order", "text", "lowest", "lowest, highest, random", "which blocks go; the others are controls"}},
     .default_of = "layers",
     .of = {},
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::shortgpt_method
