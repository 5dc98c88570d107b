// Baseline B2, structured form (Wanda-sp): channels of the output projections by ‖W_:,j‖₂ · ‖X_j‖₂; the same share of heads
// and neurons goes from every block. Scores come from the dense model.
#include "espalier/core/error.h"
#include "espalier/graph/sublayers.h"
#include "espalier/lab/criteria/wanda.h"
#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/structures/unit_removal.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// Channel scores of each output projection, by node name.
Json channel_scores(PruneJob& job, const std::vector<SubLayer>& sublayers) {
  Json scores = Json::object();
  job.for_each_block(
      job.windows(), 4096,
      [&](BlockStream& stream, int block, Json& state) {
        std::map<NodeId, ColumnNorms> norms;
        Observer observer;
        observer.before = [&](NodeId n, const Node& node, std::vector<at::Tensor>& inputs) {
          for (const auto& sublayer : sublayers)
            if (sublayer.out_projection == n) norms.try_emplace(n, inputs[0].size(-1), node.name).first->second.add(inputs[0]);
        };
        stream.observe(observer);
        for (const auto& sublayer : sublayers) {
          if (sublayer.block != block) continue;
          const auto& node = job.graph().nodes[static_cast<size_t>(sublayer.out_projection)];
          const at::Tensor channel = wanda_channel_scores(job.weight(sublayer.out_projection), norms.at(sublayer.out_projection).norms(), node.name).contiguous();
          state[fmt::format("{}.{}", block, name_of(sublayer.kind))] = std::vector<float>(channel.data_ptr<float>(), channel.data_ptr<float>() + channel.numel());
        }
      },
      scores);
  return scores;
}

void prune(PruneJob& job) {
  const Json channels = job.trial() ? Json() : channel_scores(job, find_sublayers(job.graph()));
  remove_share_of_units(job, 0, job.graph().block_count, [&](const CouplingGroup& group) {
    const char* branch = group.kind == GroupKind::kHeads ? "attn" : "ffn";
    return sums_per_set(channels.at(fmt::format("{}.{}", group.block, branch)).get<std::vector<double>>(), group);
  });
}

Reproduction reproduce(ReproduceContext& context) {
  const auto ours = context.run("wanda-sp", 0.25);
  const double share = ours.findings.at("params_share").get<double>();
  const double random = context.mean_perplexity("03-amp", share, {{"criterion", "random"}}, 3);
  return {"input-weighted channel norms find channels that can go",
          fmt::format("a quarter of heads and neurons ({:.1f} % of parameters) removed: {:.3f}; as many random units: {:.3f} (mean of 3 seeds)", 100 * share,
                      ours.quality.perplexity.value, random),
          ours.quality.perplexity.value < random, {{"wanda_sp", ours.quality.perplexity.value}, {"random", random}, {"params_share", share}}};
}

const RegisterMethod registered(
    {.id = "wanda-sp",
     .name = "Wanda-sp",
     .year = 2023,
     .kind = "OneShot",
     .taxonomy = unit_taxonomy("channel norm times input norm", "none", ""),
     .needs = {"data"},
     .options = {},
     .default_of = "heads",
     .of = {},
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier
