// How much must go until a measured time has fallen by a share: a bisection that knows how far its measurements reach.
#pragma once

#include <cstdint>
#include <functional>

namespace espalier {

// Share of a time that is gone, and half of its 95 % interval.
struct MeasuredShare {
  double value = 0, spread = 0;
};

struct TimeSearchLimits {
  double step = 0.02;    // what goes beyond the share asked for may be so much …
  double seconds = 300;  // … and all measurements together may take so long
};

enum class TimeSearchEnd {
  kFound,     // the fewest, or within `step` of what was asked for
  kNoise,     // the measured share and the one asked for lie closer than the spread, which is wider than `step`
  kTime,      // `seconds` are over
  kShortfall  // even all are too few
};

struct TimeSearchResult {
  int64_t count = 0;   // as much as was asked for, or more, was measured to be gone without them; all, if that is too little
  MeasuredShare gone;  // as measured the last time
  TimeSearchEnd end = TimeSearchEnd::kFound;
  int measurements = 0;
};

// The fewest of `all` things whose removal takes `share` off the time. measure(count) measures without the first `count`
// of them; seconds() is a clock. More things take more time off, but measurements err: the bisection ends where it can no
// longer tell what it found from what was asked for, measures that again, and goes on above it if too little is gone then.
TimeSearchResult fewest_for_time(int64_t all, double share, const std::function<MeasuredShare(int64_t count)>& measure,
                                 const std::function<double()>& seconds, const TimeSearchLimits& limits = {});

}  // namespace espalier
