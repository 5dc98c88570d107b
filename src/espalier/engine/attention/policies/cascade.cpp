#include "espalier/engine/attention/policies/cascade.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/core/room.h"

namespace espalier {

void ImportanceRanking::choose(std::span<const int32_t> candidates, std::span<const float> importance, int64_t count, std::span<const int32_t> protected_ids,
                               std::vector<int32_t>& kept) {
  kept.clear();
  make_room(kept, candidates.size());
  if (static_cast<int64_t>(candidates.size()) <= count) {
    kept.assign(candidates.begin(), candidates.end());
    return;
  }
  scores_.clear();
  for (const int32_t id : candidates) {
    const bool safe = std::binary_search(protected_ids.begin(), protected_ids.end(), id);
    scores_.push_back(safe ? std::numeric_limits<float>::infinity() : importance[static_cast<size_t>(id)]);
  }
  largest_.choose(scores_, count, kept);
  for (int32_t& at : kept) at = candidates[static_cast<size_t>(at)];
}

std::vector<int32_t> most_important(std::span<const int32_t> candidates, std::span<const float> importance, int64_t count, std::span<const int32_t> protected_ids) {
  std::vector<int32_t> kept;
  ImportanceRanking().choose(candidates, importance, count, protected_ids, kept);
  return kept;
}

std::vector<double> keep_schedule(int64_t layers, double front, double start, double end) {
  const auto whole = std::min(layers, static_cast<int64_t>(std::ceil(front * static_cast<double>(layers) - 1e-9)));
  const int64_t rest = layers - whole;
  std::vector<double> shares(static_cast<size_t>(whole), 1.0);
  for (int64_t i = 0; i < rest; ++i)
    shares.push_back(rest == 1 ? end : start + (end - start) * static_cast<double>(i) / static_cast<double>(rest - 1));
  return shares;
}

int64_t keep_count(double share, int64_t n) { return std::max<int64_t>(1, static_cast<int64_t>(std::floor(share * static_cast<double>(n) + 1e-9))); }

}  // namespace espalier
