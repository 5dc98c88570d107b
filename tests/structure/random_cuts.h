// Random sets to remove from coupling groups.
#pragma once

#include <algorithm>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/structure/surgery.h"

namespace espalier::test {

inline std::vector<uint8_t> random_keep(int64_t count, double share, Rng& rng) {
  std::vector<uint8_t> keep(static_cast<size_t>(count), 1);
  const int64_t removed =
      std::min(count - 1, std::max<int64_t>(1, static_cast<int64_t>(share * static_cast<double>(count))));
  for (int64_t index : rng.sample(count, removed)) keep[static_cast<size_t>(index)] = 0;
  return keep;
}

inline GroupCut cut_of(const CouplingGroup& group, const std::vector<uint8_t>& keep) {
  GroupCut cut{group.id, {}};
  for (size_t set = 0; set < keep.size(); ++set)
    if (keep[set]) cut.kept.push_back(static_cast<int64_t>(set));
  return cut;
}

// Neither a group nor a dim that belongs to it only in part may lose everything.
inline bool leaves_every_dim(const CouplingGroup& group, const std::vector<uint8_t>& keep) {
  return std::all_of(group.members.begin(), group.members.end(), [&](const CouplingMember& member) {
    return std::any_of(member.set_of_index.begin(), member.set_of_index.end(),
                       [&](int32_t set) { return set < 0 || keep[static_cast<size_t>(set)]; });
  });
}

}  // namespace espalier::test
