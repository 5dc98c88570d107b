#include "espalier/lab/allocation/water_filling.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr int kHalvings = 200;

// The least value of [0, high] for which `feasible` holds; it holds for `high` and for all above a certain value.
template <typename Feasible>
double least(double high, Feasible feasible) {
  if (feasible(0.0)) return 0;
  double low = 0;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = low + (high - low) / 2;
    (feasible(middle) ? high : low) = middle;
  }
  return high;
}

struct Problem {
  const LayerCosts& costs;
  double params, flops;  // budgets; infinity: unlimited

  std::vector<double> density(double lambda, double mu) const {
    std::vector<double> d(costs.params.size());
    for (size_t l = 0; l < d.size(); ++l) d[l] = std::min(1.0, 1 / (lambda * costs.params[l] + mu * costs.flops[l]));
    return d;
  }
  bool params_hold(double lambda, double mu) const { return weighted_sum(costs.params, density(lambda, mu)) <= params; }
  bool flops_hold(double lambda, double mu) const { return weighted_sum(costs.flops, density(lambda, mu)) <= flops; }
  double layers() const { return static_cast<double>(costs.params.size()); }
  double lambda_for(double mu_fixed) const {
    return least(layers() / params, [&](double lambda) { return params_hold(lambda, mu_fixed); });
  }
  double mu_for(double lambda_fixed) const {
    return least(layers() / flops, [&](double mu) { return flops_hold(lambda_fixed, mu); });
  }
};

void check(const LayerCosts& costs, const CostBudget& budget) {
  if (costs.params.size() != costs.flops.size())
    throw UserError("densities", "layers", fmt::format("{} FLOPs", costs.params.size()), fmt::format("{}", costs.flops.size()));
  for (const auto* list : {&costs.params, &costs.flops})
    for (double cost : *list)
      if (!(cost >= 0) || !std::isfinite(cost)) throw UserError("densities", "cost of a layer", "a finite number of at least 0", fmt::format("{}", cost));
  for (const auto& limit : {budget.params, budget.flops})
    if (limit && !(*limit > 0)) throw UserError("densities", "budget", "a positive number", fmt::format("{}", *limit));
}

}  // namespace

double weighted_sum(const std::vector<double>& weights, const std::vector<double>& density) {
  double sum = 0;
  for (size_t l = 0; l < weights.size(); ++l) sum += weights[l] * density[l];
  return sum;
}

Densities fill_densities(const LayerCosts& costs, const CostBudget& budget) {
  check(costs, budget);
  constexpr double kUnlimited = std::numeric_limits<double>::infinity();
  const Problem problem{costs, budget.params.value_or(kUnlimited), budget.flops.value_or(kUnlimited)};
  const double lambda = problem.lambda_for(0);
  if (problem.flops_hold(lambda, 0)) return {problem.density(lambda, 0), lambda, 0};
  const double mu = problem.mu_for(0);
  if (problem.params_hold(0, mu)) return {problem.density(0, mu), 0, mu};
  const double outer = least(problem.layers() / problem.params, [&](double l) { return problem.params_hold(l, problem.mu_for(l)); });
  const double inner = problem.mu_for(outer);
  return {problem.density(outer, inner), outer, inner};
}

}  // namespace espalier
