#include "espalier/lab/methods/structures/unit_removal.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/graph/sublayers.h"
#include "espalier/lab/methods/reproduce.h"

namespace espalier {

std::string Units::name_of(GroupKind kind) const { return kind == GroupKind::kNeurons ? "neuron" : query_heads ? "head" : "kv_group"; }

Units find_units(const PruneJob& job) {
  const auto widths = block_widths(job.graph());
  Units units;
  units.query_heads = std::any_of(widths.begin(), widths.end(), [](const BlockWidths& w) { return w.attention; }) &&
                      std::all_of(widths.begin(), widths.end(), [](const BlockWidths& w) { return !w.attention || w.kv_heads == 1; });
  CouplingOptions options;
  options.head_unit = units.query_heads ? HeadUnit::kQueryHead : HeadUnit::kKvGroup;
  options.protect = job.settings().protect;
  units.coupling = find_coupling(job.graph(), options);
  return units;
}

std::vector<double> sums_per_set(const std::vector<double>& parts, const CouplingGroup& group) {
  std::vector<double> sums(static_cast<size_t>(group.set_count), 0);
  ESP_ASSERT(parts.size() % sums.size() == 0, "{}: {} parts in {} sets", group.label, parts.size(), sums.size());
  const size_t run = parts.size() / sums.size();
  for (size_t i = 0; i < parts.size(); ++i) sums[i / run] += parts[i];
  return sums;
}

GroupCut lowest_removed(PruneJob& job, const CouplingGroup& group, const std::vector<double>& scores, int64_t remove, const std::string& unit) {
  ESP_ASSERT(static_cast<int64_t>(scores.size()) == group.set_count, "{} scores for {} sets", scores.size(), group.set_count);
  const int64_t kept = aligned_count(group, group.set_count - remove, job.settings().align);
  const std::vector<float> narrow(scores.begin(), scores.end());
  check_no_nan(narrow, group.label);
  const auto keep = keep_all_but_smallest(narrow, group.set_count - kept);
  GroupCut cut{group.id, {}};
  Json gone = Json::array();
  for (int64_t set = 0; set < group.set_count; ++set) {
    if (keep[static_cast<size_t>(set)]) {
      cut.kept.push_back(set);
    } else {
      gone.push_back(set);
    }
  }
  if (!gone.empty()) job.note_removed({{"unit", unit}, {"node", group.label}, {"indices", gone}});
  return cut;
}

std::vector<double> arbitrary_scores(const CouplingGroup& group) { return std::vector<double>(static_cast<size_t>(group.set_count), 0.0); }

void remove_share_of_units(PruneJob& job, int first, int last, const ScoresOfGroup& scores_of) {
  Graph& graph = job.graph();
  const int64_t before = graph.parameter_count();
  const Units units = find_units(job);
  std::vector<GroupCut> cuts;
  Json table = Json::object();
  double removed = 0;
  for (int block = first; block < last; ++block) {
    for (GroupKind kind : {GroupKind::kHeads, GroupKind::kNeurons}) {
      const CouplingGroup* group = units.coupling.find(kind, block);
      if (!group) continue;
      const auto scores = job.trial() ? arbitrary_scores(*group) : scores_of(*group);
      table[group->label] = scores;
      const int64_t remove = std::min(removal_count(job.sparsity(), group->set_count), group->set_count - 1);
      cuts.push_back(lowest_removed(job, *group, scores, remove, units.name_of(kind)));
      removed += 1 - static_cast<double>(cuts.back().kept.size()) / static_cast<double>(group->set_count);
    }
  }
  cut(graph, units.coupling, cuts);
  job.findings() = {{"params_share", removed_share(before, graph)}, {"scores", table}};
  job.reached(cuts.empty() ? 0.0 : removed / static_cast<double>(cuts.size()));
}

Reproduction against_random_units(ReproduceContext& context, const std::string& method, const std::string& claim) {
  const auto arm = context.run(method, 0.25);
  const double ours = arm.quality.perplexity.value, share = arm.findings.at("params_share").get<double>();
  const double random = context.mean_perplexity("03-amp", share, {{"criterion", "random"}}, 3);
  return {claim,
          fmt::format("a quarter of heads and neurons ({:.1f} % of parameters) removed: {:.3f}; as many random units: {:.3f} (mean of 3 seeds)",
                      100 * share, ours, random),
          ours < random, {{"ours", ours}, {"random", random}, {"params_share", share}}};
}

double removed_share(int64_t params_before, const Graph& graph) {
  return 1 - static_cast<double>(graph.parameter_count()) / static_cast<double>(params_before);
}

Taxonomy unit_taxonomy(const std::string& criterion, const std::string& repair, const std::string& fusion) {
  return {{"head", "neuron"}, "universal", {"after"}, "unlabelled", criterion, "", "local", "one-shot", repair, fusion, {"llm"}};
}

}  // namespace espalier
