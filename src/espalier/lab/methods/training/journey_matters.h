// 44 The Journey Matters (2025): pruning within pre-training, planned in shares of its compute.
#pragma once

#include <array>
#include <cstdint>

#include "espalier/lab/training/density_schedule.h"

namespace espalier {

// A training in three phases, dense, falling and sparse, that begin and end at shares of all compute. A step at density d
// costs d steps of the dense model.
struct JourneyPhases {
  std::array<double, 3> step_shares{};  // of all steps
  double middle_density = 1;            // mean of the falling phase
  double average_density = 1;           // of the whole
};

// UserError: a sparsity outside [0, 1), shares that are not 0 <= start < end <= 1.
JourneyPhases journey_phases(double sparsity, double start, double end, DensityShape shape);

// The same from steps: mean of the exact curve, of `total` steps.
double average_density(const DensitySchedule& schedule, int64_t total);

// Of a training of so many steps. every 0: a hundredth of the falling phase. UserError as above.
DensitySchedule journey_schedule(int64_t steps, double sparsity, double start, double end, DensityShape shape, int64_t every = 0);

struct JourneyPlan {
  DensitySchedule schedule;
  int64_t steps = 0;
};

// Steps that cost as much as `budget` steps of the dense model. The last phase
// takes what the stairs of the second left, so that the sum of all densities is the budget to half a step. UserError as
// above, and for a budget too short for one step of the last phase.
JourneyPlan plan_journey(int64_t budget, double sparsity, double start, double end, DensityShape shape, int64_t every = 0);

// The dense model that a sparse training of this average density is as good as, at equal compute.
struct MatchedPair {
  double matched_params = 0, final_params = 0;
  double saving = 0;  // 1 - final / matched: of inference
};
MatchedPair matched_pair(double dense_params, double sparsity, double average_density);

}  // namespace espalier
