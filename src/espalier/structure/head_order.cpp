#include "espalier/structure/head_order.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// The n-th index of a set comes where the n-th index of the set was whose place it takes, so that queries, keys and values
// that are packed in one dim stay apart.
std::vector<int64_t> reordered(const CouplingMember& member, const std::vector<int64_t>& order) {
  std::vector<std::vector<int64_t>> indices(order.size());
  for (size_t i = 0; i < member.set_of_index.size(); ++i)
    if (member.set_of_index[i] >= 0) indices[static_cast<size_t>(member.set_of_index[i])].push_back(static_cast<int64_t>(i));
  std::vector<int64_t> moved(member.set_of_index.size());
  std::vector<size_t> next(order.size(), 0);
  for (size_t i = 0; i < moved.size(); ++i) {
    const int32_t set = member.set_of_index[i];
    if (set < 0) {
      moved[i] = static_cast<int64_t>(i);
      continue;
    }
    const auto& from = indices[static_cast<size_t>(order[static_cast<size_t>(set)])];
    ESP_ASSERT(from.size() == indices[static_cast<size_t>(set)].size(), "{}: heads of unequal widths", member.param);
    moved[i] = from[next[static_cast<size_t>(set)]++];
  }
  return moved;
}

}  // namespace

void reorder_heads(Graph& graph, const CouplingGroup& heads, const std::vector<int64_t>& order) {
  ESP_ASSERT(heads.kind == GroupKind::kHeads && static_cast<int64_t>(order.size()) == heads.set_count, "{}: {} sets", heads.label, order.size());
  std::vector<int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i) ESP_ASSERT(sorted[i] == static_cast<int64_t>(i), "{}: not an order of its sets", heads.label);
  for (const CouplingMember& member : heads.members) graph.parameter(member.param).cut(member.axis, reordered(member, order));
}

}  // namespace espalier
