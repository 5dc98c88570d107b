#include "espalier/core/largest_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/core/error.h"

namespace espalier {

// Buckets of equal width between the smallest and the largest finite score, which no score leaves for a lower one than a
// smaller score has; only the bucket that holds the k-th largest is looked into.
void LargestScores::choose(std::span<const float> scores, int64_t k, std::vector<int32_t>& chosen) {
  const auto n = static_cast<int64_t>(scores.size());
  ESP_ASSERT(k >= 0 && k <= n, "{} of {}", k, n);
  chosen.clear();
  if (k == n) {
    for (int64_t i = 0; i < n; ++i) chosen.push_back(static_cast<int32_t>(i));
    return;
  }
  if (k == 0) return;
  float low = std::numeric_limits<float>::infinity(), high = -low;
  for (const float x : scores)
    if (std::isfinite(x)) low = std::min(low, x), high = std::max(high, x);
  const float width = high - low, scale = width > 0 && std::isfinite(width) ? static_cast<float>(kBuckets) / width : 0.0f;
  bucket_.resize(scores.size());
  counts_.fill(0);
  for (size_t i = 0; i < scores.size(); ++i) {
    const float place = (scores[i] - low) * scale;
    // Infinities and NaN: the ends. A range that is too wide for a scale has one bucket.
    const auto b = static_cast<uint16_t>(place > 0 ? std::min(place, static_cast<float>(kBuckets - 1)) : 0.0f);
    bucket_[i] = b;
    ++counts_[b];
  }
  int at = kBuckets - 1;
  int64_t above = 0;
  while (above + counts_[static_cast<size_t>(at)] < k) above += counts_[static_cast<size_t>(at--)];
  candidates_.clear();
  for (size_t i = 0; i < scores.size(); ++i)
    if (bucket_[i] == at) candidates_.push_back({std::isnan(scores[i]) ? -std::numeric_limits<float>::infinity() : scores[i], static_cast<int32_t>(i)});
  const auto before = [](const Candidate& a, const Candidate& b) { return a.score > b.score || (a.score == b.score && a.position < b.position); };
  const auto last = candidates_.begin() + static_cast<ptrdiff_t>(k - above) - 1;
  std::nth_element(candidates_.begin(), last, candidates_.end(), before);
  const Candidate worst = *last;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (bucket_[i] < at) continue;
    const Candidate one{std::isnan(scores[i]) ? -std::numeric_limits<float>::infinity() : scores[i], static_cast<int32_t>(i)};
    if (bucket_[i] > at || !before(worst, one)) chosen.push_back(static_cast<int32_t>(i));
  }
}

}  // namespace espalier
