#include "espalier/core/wide_ranking.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {

WideCut find_wide_cut(std::span<double> scores, int64_t k) {
  ESP_ASSERT(k >= 0 && k <= std::ssize(scores), "{} of {}", k, scores.size());
  ESP_ASSERT(std::none_of(scores.begin(), scores.end(), [](double score) { return score != score; }));
  if (k == 0) return {};
  std::nth_element(scores.begin(), scores.begin() + (k - 1), scores.end());
  const double threshold = scores[static_cast<size_t>(k - 1)];
  // What nth_element leaves behind the rank is not below the threshold.
  return {threshold, std::count(scores.begin(), scores.begin() + k, threshold)};
}

int64_t apply_wide_cut(WideCut& cut, std::span<const double> scores, std::span<uint8_t> keep) {
  ESP_ASSERT(scores.size() == keep.size());
  int64_t removed = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const bool tied = scores[i] == cut.threshold && cut.ties > 0;
    if (!tied && !(scores[i] < cut.threshold)) continue;
    cut.ties -= tied;
    keep[i] = 0;
    ++removed;
  }
  return removed;
}

}  // namespace espalier
