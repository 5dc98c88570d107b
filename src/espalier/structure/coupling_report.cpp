// How coupling groups are looked up and shown.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/structure/coupling.h"

namespace espalier {

const char* name_of(GroupKind kind) {
  switch (kind) {
    case GroupKind::kResidual:
      return "residual";
    case GroupKind::kHeads:
      return "heads";
    case GroupKind::kNeurons:
      return "neurons";
    case GroupKind::kOther:
      return "other";
  }
  bug(__FILE__, __LINE__, "a kind without a name");
}

const CouplingGroup* Coupling::find(const std::string& label) const {
  auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.label == label; });
  return found == groups.end() ? nullptr : &*found;
}

const CouplingGroup* Coupling::find(GroupKind kind, int block) const {
  auto found = std::find_if(groups.begin(), groups.end(),
                            [&](const auto& group) { return group.kind == kind && group.block == block; });
  return found == groups.end() ? nullptr : &*found;
}

std::vector<int32_t> Coupling::canonical_sets(const std::string& param, size_t axis) const {
  for (const auto& group : groups) {
    for (const auto& member : group.members) {
      if (member.param != param || member.axis != axis) continue;
      std::vector<int32_t> sets = member.set_of_index;
      for (int32_t& set : sets)
        if (set >= 0) set = group.canonical[static_cast<size_t>(set)];
      return sets;
    }
  }
  return {};
}

namespace {
int64_t removable(const CouplingMember& member) {
  return std::count_if(member.set_of_index.begin(), member.set_of_index.end(), [](int32_t set) { return set >= 0; });
}

// A set that covers a whole dim can never go: the dim would vanish.
bool has_set_of_a_whole_dim(const CouplingGroup& group) {
  return std::any_of(group.members.begin(), group.members.end(), [](const CouplingMember& member) {
    const auto& sets = member.set_of_index;
    return sets.front() >= 0 && std::count(sets.begin(), sets.end(), sets.front()) == std::ssize(sets);
  });
}

std::string headline(const CouplingGroup& group) {
  std::string text =
      fmt::format("group {} {}: {} sets, {} members", group.id, group.label, group.set_count, group.members.size());
  if (group.heads)
    text +=
        fmt::format(" (heads of {}; {} KV heads; a set is {} query head{}{})", group.heads->head_size,
                    group.heads->kv_heads, group.heads->queries_per_set, group.heads->queries_per_set == 1 ? "" : "s",
                    group.heads->unit == HeadUnit::kKvGroup ? " with its KV head" : "");
  if (has_set_of_a_whole_dim(group)) text += " (cannot be cut: one set covers a whole dim)";
  return text;
}
}  // namespace

std::string describe_groups(const Coupling& coupling) {
  std::string text;
  for (const auto& group : coupling.groups) {
    text += headline(group) + "\n";
    for (const auto& member : group.members) {
      const auto size = static_cast<int64_t>(member.set_of_index.size()), free = removable(member);
      text += fmt::format("  {} axis {} [{}{}]: {}\n", member.param, member.axis, size,
                          free == size ? "" : fmt::format(", {} frozen", size - free), member.reason);
    }
  }
  for (const auto& op : coupling.unknown_operators) text += fmt::format("no coupling rule, so frozen: {}\n", op);
  return text;
}

Json groups_to_json(const Coupling& coupling) {
  Json groups = Json::array();
  for (const auto& group : coupling.groups) {
    Json members = Json::array();
    for (const auto& member : group.members)
      members.push_back({{"param", member.param},
                         {"axis", member.axis},
                         {"size", member.set_of_index.size()},
                         {"removable", removable(member)},
                         {"reason", member.reason}});
    Json entry = {{"id", group.id},       {"label", group.label},    {"kind", name_of(group.kind)},
                  {"block", group.block}, {"sets", group.set_count}, {"members", members}};
    if (group.heads)
      entry["heads"] = {{"head_size", group.heads->head_size},
                        {"kv_heads", group.heads->kv_heads},
                        {"queries_per_set", group.heads->queries_per_set}};
    groups.push_back(std::move(entry));
  }
  return {{"groups", groups}, {"unknown_operators", coupling.unknown_operators}};
}

// Greedy with one point of return, so long names cost no more than name × pattern.
bool matches_pattern(const std::string& name, const std::string& pattern) {
  size_t n = 0, p = 0, star = std::string::npos, after = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string::npos) {
      p = star + 1;
      n = ++after;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace espalier
