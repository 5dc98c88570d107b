// Which rectified units put out nothing, and why (AP, 2022): because all weights that feed them are removed, or because of
// the values that the others have.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace espalier {

// Of one layer, counted over samples; a position of a map is a unit.
struct DeadUnits {
  int64_t samples = 0, units = 0;
  int64_t dead = 0;         // a unit on a sample: its pre-activation is at most 0
  int64_t dead_unfed = 0;   // of these, units that no weight feeds
  at::Tensor channel_dead;  // int64 [channels]

  double share() const;
  at::Tensor channel_share() const;  // fp64 [channels]
  void add(const DeadUnits& more);   // further samples of the same layer
};

// preactivation: [samples, units] or [samples, channels, …]; fed: bool, one a channel: does any kept weight feed it?
DeadUnits count_dead(const at::Tensor& preactivation, const at::Tensor& fed);

struct DeadRate {
  std::vector<double> layers;
  double total = 0;    // dead units over all units, mean over the samples
  double unfed = 0;    // "static": dead through removal
  double dynamic = 0;  // total - unfed: dead through the weights' values
};
DeadRate dead_rate(std::span<const DeadUnits> layers);  // of the same samples

}  // namespace espalier
