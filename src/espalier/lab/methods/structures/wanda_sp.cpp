// Baseline B2, structured form (Wanda-sp): channels of the output projections by ‖W_:,j‖₂ · ‖X_j‖₂; the same share of heads
// and neurons goes from every block. Scores come from the dense model.
#include "espalier/core/error.h"
#include "espalier/graph/sublayers.h"
#include "espalier/lab/criteria/wanda.h"
#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/methods/structures/unit_removal.h"
#include "espalier/lab/torch.h"

namespace espalier::wanda_sp_method {
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
  return against_random_units(context, "wanda-sp", "input-weighted channel norms find channels that can go");
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
}  // namespace espalier::wanda_sp_method
