// How much is removed when: sparsity as a function of the step.
#pragma once

namespace espalier {

// Cubic: s0 before t0, s1 from t1 on, s1 + (s0 - s1) (1 - (t - t0) / (t1 - t0))^3 between. t0 <= t1.
struct CubicSchedule {
  double t0 = 0, t1 = 1;
  double s0 = 0, s1 = 0;
  double at(double t) const;
};

}  // namespace espalier
