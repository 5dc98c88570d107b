#include "espalier/lab/methods/structures/removal_report.h"

#include <numeric>

#include "espalier/core/error.h"

namespace espalier {
namespace {

const char* unit_of(GroupKind kind, bool query_heads) {
  switch (kind) {
    case GroupKind::kHeads:
      return query_heads ? "head" : "kv_group";
    case GroupKind::kNeurons:
      return "neuron";
    case GroupKind::kResidual:
      return "embedding";
    case GroupKind::kOther:
      return "channel";
  }
  bug(__FILE__, __LINE__, "a kind of group without a unit");
}

Json kept_of_parameters(const Graph& graph) {
  Json parameters = Json::object();
  for (const auto& parameter : graph.parameters())
    for (size_t axis = 0; axis < parameter->shape().size(); ++axis)
      if (const auto* kept = parameter->kept(axis)) parameters[parameter->name()][fmt::format("{}", axis)] = *kept;
  return parameters;
}

}  // namespace

RemovalReport::Group& RemovalReport::group_of(const CouplingGroup& group) {
  auto [entry, fresh] = groups_.try_emplace(group.label);
  if (!fresh) return entry->second;
  Group& made = entry->second;
  order_.push_back(group.label);
  made.kind = group.kind;
  made.query_heads = group.heads && group.heads->unit == HeadUnit::kQueryHead;
  made.sets = group.set_count;
  made.kept.resize(static_cast<size_t>(group.set_count));
  std::iota(made.kept.begin(), made.kept.end(), 0);
  for (const auto& member : group.members) made.members.push_back(fmt::format("{} axis {}", member.param, member.axis));
  return made;
}

void RemovalReport::add(const Coupling& coupling, const std::vector<GroupCut>& cuts) {
  unknown_ = coupling.unknown_operators;
  for (const auto& group : coupling.groups) group_of(group);
  for (const auto& cut : cuts) {
    Group& group = group_of(coupling.groups[static_cast<size_t>(cut.group)]);
    std::vector<int64_t> kept;
    for (int64_t set : cut.kept) kept.push_back(group.kept.at(static_cast<size_t>(set)));
    group.kept = std::move(kept);
  }
}

void RemovalReport::write(PruneJob& job) const {
  Json table = Json::array();
  for (const auto& label : order_) {
    const Group& group = groups_.at(label);
    std::vector<int64_t> removed;
    size_t next = 0;
    for (int64_t set = 0; set < group.sets; ++set) {
      if (next < group.kept.size() && group.kept[next] == set) {
        ++next;
      } else {
        removed.push_back(set);
      }
    }
    table.push_back({{"label", label}, {"kind", name_of(group.kind)}, {"sets", group.sets}, {"kept", group.kept}, {"removed", removed}, {"members", group.members}});
    if (!removed.empty()) job.note_removed({{"unit", unit_of(group.kind, group.query_heads)}, {"node", label}, {"indices", removed}});
  }
  job.findings()["groups"] = std::move(table);
  job.findings()["parameters"] = kept_of_parameters(job.graph());
  if (!unknown_.empty()) job.findings()["frozen_by"] = unknown_;
}

}  // namespace espalier
