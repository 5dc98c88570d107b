// Cuts within tensors; surgery_blocks.cpp takes nodes away.
#include "espalier/structure/surgery.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/structure/surgery_layout.h"

namespace espalier {
namespace {

using KeepFlags = std::vector<uint8_t>;  // of each set

KeepFlags keep_flags(const CouplingGroup& group, const std::vector<int64_t>& kept) {
  if (kept.empty()) user_error("{}: the cut would leave none of its {} sets", group.label, group.set_count);
  KeepFlags flags(static_cast<size_t>(group.set_count), 0);
  int64_t last = -1;
  for (int64_t set : kept) {
    if (set < 0 || set >= group.set_count)
      throw UserError(group.label, "set to keep", fmt::format("0 to {}", group.set_count - 1), fmt::format("{}", set));
    if (set <= last)
      throw UserError(group.label, "sets to keep", "ascending numbers", fmt::format("{} after {}", set, last));
    flags[static_cast<size_t>(last = set)] = 1;
  }
  return flags;
}

// A query head finds its KV head by division, so each KV head must keep as many.
void check_query_heads(const CouplingGroup& group, const KeepFlags& flags) {
  if (!group.heads || group.heads->unit != HeadUnit::kQueryHead || group.heads->kv_heads < 2) return;
  std::vector<int64_t> kept(static_cast<size_t>(group.heads->kv_heads), 0);
  for (size_t set = 0; set < flags.size(); ++set)
    if (flags[set]) ++kept[static_cast<size_t>(group.heads->kv_head_of_set[set])];
  if (std::adjacent_find(kept.begin(), kept.end(), std::not_equal_to<>()) != kept.end())
    throw UserError(group.label, "query heads kept by each KV head",
                    "equal numbers, because query head h reads KV head h / (heads / KV heads); or cut whole KV groups",
                    fmt::format("{}", fmt::join(kept, ", ")));
}

std::vector<int64_t> kept_indices(const std::vector<int32_t>& set_of_index, const KeepFlags& flags) {
  std::vector<int64_t> kept;
  kept.reserve(set_of_index.size());
  for (size_t i = 0; i < set_of_index.size(); ++i)
    if (set_of_index[i] < 0 || flags[static_cast<size_t>(set_of_index[i])]) kept.push_back(static_cast<int64_t>(i));
  return kept;
}

void cut_members(Graph& graph, const CouplingGroup& group, const KeepFlags& flags) {
  for (const auto& member : group.members) {
    Parameter& parameter = graph.parameter(member.param);
    ESP_ASSERT(parameter.shape().at(member.axis) == static_cast<int64_t>(member.set_of_index.size()),
               "{} axis {} is not as it was when its coupling was found", member.param, member.axis);
    parameter.cut(member.axis, kept_indices(member.set_of_index, flags));
  }
}

// A dim that belongs to the group with some of its sets only must not vanish either.
void check_members(const CouplingGroup& group, const KeepFlags& flags) {
  for (const auto& member : group.members)
    if (kept_indices(member.set_of_index, flags).empty())
      user_error("{}: the cut would leave nothing of {} axis {}", group.label, member.param, member.axis);
}

}  // namespace

void cut(Graph& graph, const Coupling& coupling, const std::vector<GroupCut>& cuts) {
  std::vector<KeepFlags> flags;
  for (const auto& [id, kept] : cuts) {  // all checks come before the first change
    const auto& group = coupling.groups.at(static_cast<size_t>(id));
    flags.push_back(keep_flags(group, kept));
    check_query_heads(group, flags.back());
    check_members(group, flags.back());
  }
  std::vector<const KeepFlags*> flags_of_group(coupling.groups.size(), nullptr);
  for (size_t i = 0; i < cuts.size(); ++i) flags_of_group[static_cast<size_t>(cuts[i].group)] = &flags[i];
  LayoutSurgery layout(graph, coupling, [&](const SetRef& ref) {
    const KeepFlags* kept = ref.group < 0 ? nullptr : flags_of_group[static_cast<size_t>(ref.group)];
    return kept && !(*kept)[static_cast<size_t>(ref.set)];
  });
  for (size_t i = 0; i < cuts.size(); ++i) {
    const auto& group = coupling.groups[static_cast<size_t>(cuts[i].group)];
    if (static_cast<int64_t>(cuts[i].kept.size()) == group.set_count) continue;
    cut_members(graph, group, flags[i]);
  }
  layout.apply();
  graph.check();
  infer_shapes(graph, input_shapes(graph));
}

void cut(Graph& graph, const Coupling& coupling, int group, const std::vector<int64_t>& kept) {
  cut(graph, coupling, {{group, kept}});
}

int64_t aligned_count(const CouplingGroup& group, int64_t kept, int64_t multiple, bool heads_too) {
  if (multiple <= 1 || (group.kind == GroupKind::kHeads && !heads_too)) return kept;
  return std::min(group.set_count, (kept + multiple - 1) / multiple * multiple);
}

}  // namespace espalier
