// Chinchilla's law of the final loss of a language model (Hoffmann et al., 2022), L(N, D) = E + A / N^alpha + B / D^beta, N
// its parameters, D the tokens of its training. "The Journey Matters" (2025): with N the average over all steps of the
// training, one law holds for sparse and dense runs.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace espalier {

struct ScalingPoint {
  double params = 0, tokens = 0, loss = 0;
};

struct ScalingLaw {
  double log_a = 0, log_b = 0, log_e = 0, alpha = 0, beta = 0;
  double log_loss(double params, double tokens) const;  // logarithm of the loss, by a sum of exponentials that cannot overflow
  double loss(double params, double tokens) const;
};

// Sum over the points of Huber's function of log_loss less the logarithm of the loss measured.
double scaling_objective(const ScalingLaw& law, const std::vector<ScalingPoint>& points, double delta = 1e-3);

struct ScalingFit {
  ScalingLaw law;
  double objective = 0;
  double mean_error = 0, largest_error = 0;  // of the loss, as shares of it
};

inline constexpr int64_t kLeastScalingPoints = 6, kEnoughScalingPoints = 10;

// The least objective that L-BFGS reaches from a grid of 243 starts. UserError below 6 points, for numbers that are not
// positive and finite; a warning below 10, which do not determine five numbers.
ScalingFit fit_scaling_law(const std::vector<ScalingPoint>& points, double delta = 1e-3);

}  // namespace espalier
