// Layer densities that use up a budget of parameters, of FLOPs, or of both (PreCropping, 2022, later version).
#pragma once

#include <optional>
#include <vector>

namespace espalier {

struct LayerCosts {
  std::vector<double> params, flops;  // of each layer, dense
};

struct CostBudget {
  std::optional<double> params, flops;  // absent: unlimited
};

struct Densities {
  std::vector<double> density;  // of each layer, in (0, 1]
  double lambda = 0, mu = 0;    // multipliers of the parameter and of the FLOPs budget; 0: not binding
};

// Maximises sum of log d_l subject to sum a_l d_l <= A and sum b_l d_l <= B, 0 < d_l <= 1: d_l = min(1, 1 / (lambda a_l +
// mu b_l)), by bisection of 200 halvings; the feasible end is returned. UserError: costs of different lengths, a
// negative or non-finite cost, a budget that is not positive.
Densities fill_densities(const LayerCosts& costs, const CostBudget& budget);

double weighted_sum(const std::vector<double>& weights, const std::vector<double>& density);

}  // namespace espalier
