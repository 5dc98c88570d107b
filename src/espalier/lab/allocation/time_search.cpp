#include "espalier/lab/allocation/time_search.h"

#include <algorithm>

namespace espalier {

TimeSearchResult fewest_for_time(int64_t all, double share, const std::function<MeasuredShare(int64_t)>& measure,
                                 const std::function<double()>& seconds, const TimeSearchLimits& limits) {
  const double start = seconds();
  TimeSearchResult best{all, measure(all), TimeSearchEnd::kFound, 1};
  if (best.gone.value < share) {
    best.end = TimeSearchEnd::kShortfall;
    return best;
  }
  for (int64_t low = 0; best.count - low > 1;) {
    const double excess = best.gone.value - share;
    if (excess <= std::max(limits.step, best.gone.spread)) {
      best.end = excess <= limits.step ? TimeSearchEnd::kFound : TimeSearchEnd::kNoise;
      break;
    }
    const double elapsed = seconds() - start;
    if (elapsed + elapsed / best.measurements > limits.seconds) {
      best.end = TimeSearchEnd::kTime;
      break;
    }
    const int64_t middle = low + (best.count - low) / 2;
    const MeasuredShare gone = measure(middle);
    ++best.measurements;
    if (gone.value >= share) {
      best.count = middle;
      best.gone = gone;
    } else {
      low = middle;
    }
  }
  return best;
}

}  // namespace espalier
