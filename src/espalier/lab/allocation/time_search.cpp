#include "espalier/lab/allocation/time_search.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace espalier {

TimeSearchResult fewest_for_time(int64_t all, double share, const std::function<MeasuredShare(int64_t)>& measure,
                                 const std::function<double()>& seconds, const TimeSearchLimits& limits) {
  const double start = seconds();
  int measurements = 0;
  const auto gone_without = [&](int64_t count) { return ++measurements, measure(count); };
  const auto late = [&] {
    const double elapsed = seconds() - start;
    return elapsed + elapsed / measurements > limits.seconds;
  };
  std::vector<std::pair<int64_t, MeasuredShare>> enough{{all, gone_without(all)}};  // ever fewer
  if (enough[0].second.value < share) return {all, enough[0].second, TimeSearchEnd::kShortfall, measurements};
  for (int64_t low = 0;;) {
    const auto [count, gone] = enough.back();
    if (late()) return {count, gone, TimeSearchEnd::kTime, measurements};
    const double excess = gone.value - share;
    if (count - low > 1 && excess > std::max(limits.step, gone.spread)) {
      const int64_t middle = low + (count - low) / 2;
      const MeasuredShare without = gone_without(middle);
      if (without.value >= share) enough.emplace_back(middle, without);
      else low = middle;
      continue;
    }
    // A spell of the machine that outlasts a measurement misleads it, so what was found must hold a second time.
    const MeasuredShare again = gone_without(count);
    const bool noise = count - low > 1 && excess > limits.step;
    if (again.value + again.spread >= share) return {count, again, noise ? TimeSearchEnd::kNoise : TimeSearchEnd::kFound, measurements};
    low = count;
    enough.pop_back();
    if (enough.empty()) return {all, again, TimeSearchEnd::kShortfall, measurements};
  }
}

}  // namespace espalier
