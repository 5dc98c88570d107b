#include "espalier/lab/methods/structures/unit_removal.h"

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/structure/surgery.h"

namespace espalier {

const CouplingGroup* units_of(const Coupling& coupling, GroupKind kind, int block) { return coupling.find(kind, block); }

GroupCut lowest_removed(PruneJob& job, const CouplingGroup& group, const std::vector<double>& scores, int64_t remove, const std::string& unit) {
  ESP_ASSERT(static_cast<int64_t>(scores.size()) == group.set_count, "{} scores for {} sets", scores.size(), group.set_count);
  const int64_t kept = aligned_count(group, group.set_count - remove, job.settings().align);
  const std::vector<float> narrow(scores.begin(), scores.end());
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

double removed_share(int64_t params_before, const Graph& graph) {
  return 1 - static_cast<double>(graph.parameter_count()) / static_cast<double>(params_before);
}

}  // namespace espalier
