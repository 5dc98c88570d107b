// Baseline B2, structured form (Wanda-sp): channels of the output projections by ‖W_:,j‖₂ · ‖X_j‖₂; the same share of heads
// and neurons goes from every block. Scores come from the dense model.
#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/criteria/wanda.h"
#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/structures/unit_removal.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/surgery.h"

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

std::vector<double> per_set(const Json& channels, int64_t sets) {
  std::vector<double> sums(static_cast<size_t>(sets), 0);
  const size_t run = channels.size() / sums.size();
  for (size_t j = 0; j < channels.size(); ++j) sums[j / run] += channels[j].get<double>();
  return sums;
}

void prune(PruneJob& job) {
  Graph& graph = job.graph();
  const int64_t before = graph.parameter_count();
  const Json scores = channel_scores(job, find_sublayers(graph));
  CouplingOptions options;
  options.protect = job.settings().protect;
  const Coupling coupling = find_coupling(graph, options);
  std::vector<GroupCut> cuts;
  for (int block = 0; block < graph.block_count; ++block) {
    for (GroupKind kind : {GroupKind::kHeads, GroupKind::kNeurons}) {
      const CouplingGroup* group = units_of(coupling, kind, block);
      if (!group) continue;
      const bool heads = kind == GroupKind::kHeads;
      const auto sums = per_set(scores.at(fmt::format("{}.{}", block, heads ? "attn" : "ffn")), group->set_count);
      const int64_t remove = std::min(removal_count(job.sparsity(), group->set_count), group->set_count - 1);
      if (remove > 0) cuts.push_back(lowest_removed(job, *group, sums, remove, heads ? "kv_group" : "neuron"));
    }
  }
  cut(graph, coupling, cuts);
  job.findings() = {{"channel_scores", scores}};
  job.reached(removed_share(before, graph));
}

Reproduction reproduce(ReproduceContext& context) {
  const auto ours = context.run("wanda-sp", 0.25), random = context.run("03-amp", 0.2, {{"criterion", "random"}});
  return {"input-weighted channel norms find channels that can go",
          fmt::format("a quarter of heads and neurons ({:.1f} % of parameters) removed: {:.3f}; random units ({:.1f} %): {:.3f}", 100 * ours.reached,
                      ours.quality.perplexity.value, 100 * random.reached, random.quality.perplexity.value),
          ours.quality.perplexity.value < random.quality.perplexity.value, {{"wanda_sp", ours.quality.perplexity.value}, {"random", random.quality.perplexity.value}}};
}

const RegisterMethod registered(
    {.id = "wanda-sp",
     .name = "Wanda-sp",
     .year = 2023,
     .kind = "OneShot",
     .taxonomy = {{"head", "neuron"}, "universal", {"after"}, "unlabelled", "channel norm times input norm", "", "local", "one-shot", "none", "", {"llm"}},
     .needs = {"data"},
     .options = {},
     .default_of = "heads",
     .of = {},
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier
