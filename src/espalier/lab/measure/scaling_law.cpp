#include "espalier/lab/measure/scaling_law.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/lab/measure/lbfgs.h"

namespace espalier {
namespace {

// In the order of the optimiser's variables.
ScalingLaw law_of(const std::vector<double>& x) { return {x[0], x[1], x[2], x[3], x[4]}; }

struct Terms {
  double log_sum;
  std::array<double, 3> share;  // of A / N^alpha, of B / D^beta and of E in the loss
};

Terms terms_of(const ScalingLaw& law, double params, double tokens) {
  const std::array<double, 3> logs = {law.log_a - law.alpha * std::log(params), law.log_b - law.beta * std::log(tokens), law.log_e};
  const double most = std::max({logs[0], logs[1], logs[2]});
  Terms terms{0, {}};
  double sum = 0;
  for (size_t i = 0; i < 3; ++i) sum += terms.share[i] = std::exp(logs[i] - most);
  for (double& share : terms.share) share /= sum;
  terms.log_sum = most + std::log(sum);
  return terms;
}

double huber(double error, double delta) {
  const double size = std::abs(error);
  return size <= delta ? error * error / 2 : delta * (size - delta / 2);
}

void check_points(const std::vector<ScalingPoint>& points) {
  const auto count = std::ssize(points);
  if (count < kLeastScalingPoints)
    throw UserError("scaling law", "points", fmt::format("at least {}, for five numbers are fitted", kLeastScalingPoints), fmt::format("{}", count));
  if (count < kEnoughScalingPoints) warn("scaling law: {} points hardly determine five numbers; {} or more do", count, kEnoughScalingPoints);
  for (const auto& [params, tokens, loss] : points)
    for (const auto& [name, value] : {std::pair("parameters", params), {"tokens", tokens}, {"loss", loss}})
      if (!(value > 0 && std::isfinite(value))) throw UserError("scaling law", name, "a positive number", fmt::format("{}", value));
}

}  // namespace

double ScalingLaw::log_loss(double params, double tokens) const { return terms_of(*this, params, tokens).log_sum; }
double ScalingLaw::loss(double params, double tokens) const { return std::exp(log_loss(params, tokens)); }

double scaling_objective(const ScalingLaw& law, const std::vector<ScalingPoint>& points, double delta) {
  double sum = 0;
  for (const auto& [params, tokens, loss] : points) sum += huber(law.log_loss(params, tokens) - std::log(loss), delta);
  return sum;
}

ScalingFit fit_scaling_law(const std::vector<ScalingPoint>& points, double delta) {
  check_points(points);
  const Differentiable function = [&](const std::vector<double>& x, std::vector<double>& gradient) {
    const ScalingLaw law = law_of(x);
    std::fill(gradient.begin(), gradient.end(), 0.0);
    double sum = 0;
    for (const auto& [params, tokens, loss] : points) {
      const Terms terms = terms_of(law, params, tokens);
      const double error = terms.log_sum - std::log(loss), slope = std::clamp(error, -delta, delta);
      sum += huber(error, delta);
      gradient[0] += slope * terms.share[0];
      gradient[1] += slope * terms.share[1];
      gradient[2] += slope * terms.share[2];
      gradient[3] -= slope * terms.share[0] * std::log(params);
      gradient[4] -= slope * terms.share[1] * std::log(tokens);
    }
    return sum;
  };
  ScalingFit best;
  best.objective = INFINITY;
  constexpr double kExponents[] = {0.2, 0.35, 0.5}, kLogs[] = {4, 6, 8}, kFloors[] = {1, 1.5, 2};
  for (double alpha : kExponents)
    for (double beta : kExponents)
      for (double log_a : kLogs)
        for (double log_b : kLogs)
          for (double e : kFloors) {
            const Minimum found = minimise(function, {log_a, log_b, std::log(e), alpha, beta});
            const ScalingLaw law = law_of(found.x);
            if (law.alpha > 0 && law.beta > 0 && found.value < best.objective) best.law = law, best.objective = found.value;
          }
  if (std::isinf(best.objective)) user_error("scaling law: no start of the fit ends with positive exponents; the losses do not fall with parameters and tokens");
  for (const auto& [params, tokens, loss] : points) {
    const double error = std::abs(best.law.loss(params, tokens) / loss - 1);
    best.mean_error += error / static_cast<double>(points.size());
    best.largest_error = std::max(best.largest_error, error);
  }
  return best;
}

}  // namespace espalier
