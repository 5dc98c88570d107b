#include "espalier/lab/measure/dead_units.h"

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {

double DeadUnits::share() const {
  const int64_t all = samples * units;
  return all == 0 ? 0 : static_cast<double>(dead) / static_cast<double>(all);
}

at::Tensor DeadUnits::channel_share() const {
  const auto positions = static_cast<double>(samples * units) / static_cast<double>(channel_dead.numel());
  return channel_dead.to(at::kDouble) / positions;
}

void DeadUnits::add(const DeadUnits& more) {
  ESP_ASSERT(samples == 0 || units == more.units);
  samples += more.samples;
  units = more.units;
  dead += more.dead;
  dead_unfed += more.dead_unfed;
  channel_dead = channel_dead.defined() ? channel_dead + more.channel_dead : more.channel_dead;
}

DeadUnits count_dead(const at::Tensor& preactivation, const at::Tensor& fed) {
  ESP_ASSERT(preactivation.dim() >= 2 && fed.numel() == preactivation.size(1));
  const int64_t samples = preactivation.size(0);
  DeadUnits count{.samples = samples, .units = samples == 0 ? 0 : preactivation.numel() / samples};
  count.channel_dead = (preactivation.detach() <= 0).transpose(0, 1).flatten(1).sum(1);
  count.dead = count.channel_dead.sum().item<int64_t>();
  count.dead_unfed = count.channel_dead.masked_select(fed.logical_not()).sum().item<int64_t>();
  return count;
}

DeadRate dead_rate(std::span<const DeadUnits> layers) {
  DeadRate rate;
  double all = 0, dead = 0, unfed = 0;
  for (const DeadUnits& layer : layers) {
    rate.layers.push_back(layer.share());
    all += static_cast<double>(layer.samples * layer.units);
    dead += static_cast<double>(layer.dead);
    unfed += static_cast<double>(layer.dead_unfed);
  }
  if (all == 0) return rate;
  rate.total = dead / all;
  rate.unfed = unfed / all;
  rate.dynamic = rate.total - rate.unfed;
  return rate;
}

}  // namespace espalier
