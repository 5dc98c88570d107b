#include "espalier/lab/methods/training/granet_schedule.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/training/density_schedule.h"

namespace espalier {
namespace {

// The first unit that begins at or after the step.
int64_t unit_from(int64_t step, int64_t interval) { return (step + interval - 1) / interval; }

}  // namespace

int64_t GraNetSchedule::last_prune() const {
  const int64_t last = finish_exactly ? t1 / interval : t1 / interval - 1;
  return std::max(last, unit_from(t0, interval)) * interval;
}

std::optional<double> GraNetSchedule::prune_to(int64_t step) const {
  if (step % interval != 0 || step < t0) return std::nullopt;
  const int64_t unit = step / interval, first = t0 / interval, last = t1 / interval;
  if (unit < last) {
    const DensityCurve kept{DensityShape::kCubic, 1 - initial_sparsity, 1 - final_sparsity};
    return 1 - kept.at(static_cast<double>(unit - first) / static_cast<double>(last - first));
  }
  return finish_exactly && step == last_prune() ? std::optional(final_sparsity) : std::nullopt;
}

void check_granet_schedule(const GraNetSchedule& schedule) {
  const auto& [interval, t0, t1, first, last, exactly] = schedule;
  if (interval < 1) throw UserError("15-granet", "option interval", "at least 1 step", fmt::format("{}", interval));
  if (t0 < 0) throw UserError("15-granet", "option t0", "at least 0", fmt::format("{}", t0));
  if (t1 <= t0) throw UserError("15-granet", "option t1", fmt::format("above t0, which is {}", t0), fmt::format("{}", t1));
  check_share(first, "15-granet: option init_sparsity");
  check_share(last, "15-granet: option final_sparsity");
  if (last < first)
    throw UserError("15-granet", "option final_sparsity", fmt::format("at least init_sparsity, {:g}", first), fmt::format("{:g}", last));
}

int64_t granet_kept(double sparsity, int64_t total) {
  return static_cast<int64_t>(std::floor((1 - sparsity) * static_cast<double>(total) + 1e-9));
}

}  // namespace espalier
