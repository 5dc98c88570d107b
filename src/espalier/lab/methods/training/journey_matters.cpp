#include "espalier/lab/methods/training/journey_matters.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "espalier/core/error.h"

namespace espalier {
namespace {

void check_journey(double sparsity, double start, double end) {
  if (!(sparsity >= 0 && sparsity < 1)) throw UserError("44-journey-matters", "sparsity", "from 0 on, below 1", fmt::format("{}", sparsity));
  if (!(start >= 0 && start < end && end <= 1))
    throw UserError("44-journey-matters", "start and end", "shares of the compute, 0 <= start < end <= 1", fmt::format("{} and {}", start, end));
}

DensityCurve curve_of(double sparsity, DensityShape shape) { return {shape, 1, 1 - sparsity}; }

}  // namespace

JourneyPhases journey_phases(double sparsity, double start, double end, DensityShape shape) {
  check_journey(sparsity, start, end);
  JourneyPhases phases;
  phases.middle_density = curve_of(sparsity, shape).mean();
  const std::array<double, 3> steps = {start, (end - start) / phases.middle_density, (1 - end) / (1 - sparsity)};
  const double all = steps[0] + steps[1] + steps[2];
  for (size_t i = 0; i < 3; ++i) phases.step_shares[i] = steps[i] / all;
  phases.average_density = 1 / all;
  return phases;
}

double average_density(const DensitySchedule& schedule, int64_t total) {
  const auto first = static_cast<double>(schedule.start), middle = static_cast<double>(schedule.end - schedule.start),
             last = static_cast<double>(total - schedule.end);
  return (first * schedule.curve.from + middle * schedule.curve.mean() + last * schedule.curve.to) / static_cast<double>(total);
}

JourneyPlan plan_journey(int64_t budget, double sparsity, double start, double end, DensityShape shape, int64_t every) {
  check_journey(sparsity, start, end);
  if (budget < 1) throw UserError("44-journey-matters", "budget", "at least one step of the dense model", fmt::format("{}", budget));
  const auto all = static_cast<double>(budget);
  JourneyPlan plan;
  DensitySchedule& schedule = plan.schedule;
  schedule.curve = curve_of(sparsity, shape);
  schedule.start = std::llround(start * all);
  schedule.end = schedule.start + std::max<int64_t>(1, std::llround((end - start) * all / schedule.curve.mean()));
  schedule.every = every > 0 ? every : std::max<int64_t>(1, (schedule.end - schedule.start) / 100);
  double spent = 0;
  for (int64_t step = 0; step < schedule.end; ++step) spent += schedule.at(step);
  // With end = 1 the last update follows the last step.
  const int64_t rest = end < 1 ? std::llround((all - spent) / schedule.curve.to) : 0;
  if (end < 1 && rest < 1)
    throw UserError("44-journey-matters", "budget", "one that leaves steps for the last phase", fmt::format("{} steps of the dense model", budget));
  plan.steps = schedule.end + rest;
  return plan;
}

MatchedPair matched_pair(double dense_params, double sparsity, double average_density) {
  MatchedPair pair{dense_params * average_density, dense_params * (1 - sparsity), 0};
  pair.saving = 1 - pair.final_params / pair.matched_params;
  return pair;
}

}  // namespace espalier
