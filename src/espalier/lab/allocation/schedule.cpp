#include "espalier/lab/allocation/schedule.h"

namespace espalier {

double CubicSchedule::at(double t) const {
  if (t < t0) return s0;
  if (t >= t1) return s1;
  const double left = 1 - (t - t0) / (t1 - t0);
  return s1 + (s0 - s1) * left * left * left;
}

}  // namespace espalier
