#include "espalier/lab/allocation/min_keep_rates.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr int kMaxRounds = 10000;
constexpr double kTolerance = 1e-12;

double overall_sparsity(const std::vector<double>& sizes, const std::vector<double>& rates) {
  double removed = 0, total = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    removed += rates[i] * sizes[i];
    total += sizes[i];
  }
  return total > 0 ? removed / total : 0;
}

void scale(std::vector<double>& rates, double factor) {
  for (double& rate : rates) rate *= factor;
}

void clip(const std::vector<double>& sizes, std::vector<double>& rates, double min_keep) {
  for (size_t i = 0; i < sizes.size(); ++i) {
    if ((1 - rates[i]) * sizes[i] < min_keep && sizes[i] > min_keep) rates[i] = 1 - min_keep / sizes[i];
  }
}

}  // namespace

RefinedRates refine_rates(const std::vector<double>& sizes, const std::vector<double>& plain, double sparsity,
                          int64_t min_keep) {
  ESP_ASSERT(sizes.size() == plain.size());
  const auto minimum = static_cast<double>(min_keep);
  RefinedRates result{plain};
  auto& rates = result.sparsity;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] < minimum) rates[i] = 0;
  }
  int rounds = 0;
  do {
    const double current = overall_sparsity(sizes, rates);
    if (current == 0) break;  // nothing to scale: only a target of 0 can have been meant
    scale(rates, sparsity / current);
    clip(sizes, rates, minimum);
    result.overall = overall_sparsity(sizes, rates);
  } while (result.overall < sparsity - kTolerance && ++rounds < kMaxRounds);
  result.converged = result.overall >= sparsity - kTolerance;
  return result;
}

int64_t layer_removal(double sparsity, int64_t size) {
  return std::min(size, static_cast<int64_t>(std::floor(sparsity * static_cast<double>(size) + 1e-9)));
}

}  // namespace espalier
