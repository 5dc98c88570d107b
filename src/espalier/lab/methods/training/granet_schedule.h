// 15 GraNet (2021): gradual magnitude pruning in units of `interval` steps, each followed by a swap of weights.
#pragma once

#include <cstdint>
#include <optional>

namespace espalier {

// With c, i, f the units of the step, of t0 and of t1: at the first step of a unit, i <= c < f and not before t0, the
// network is pruned to s_i + (s_f - s_i) (1 - (1 - (c - i) / (f - i))^3), which ends short of s_f as the released code does;
// finish_exactly prunes to s_f in unit f.
struct GraNetSchedule {
  int64_t interval = 1, t0 = 0, t1 = 0;
  double initial_sparsity = 0, final_sparsity = 0;
  bool finish_exactly = true;

  std::optional<double> prune_to(int64_t step) const;  // absent: no pruning in this step
  int64_t last_prune() const;                          // the step after which sparsity stays
};

// UserError naming the option: interval < 1, t0 < 0, t1 <= t0, not 0 <= s_i <= s_f < 1.
void check_granet_schedule(const GraNetSchedule& schedule);

// How many of all weights stay: floor((1 - sparsity) total + 1e-9).
int64_t granet_kept(double sparsity, int64_t total);

}  // namespace espalier
