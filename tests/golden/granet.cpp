#include "espalier/lab/methods/training/granet_schedule.h"

#include "espalier/core/error.h"
#include "espalier/lab/allocation/erk.h"
#include "espalier/lab/criteria/alive_ranking.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/density_schedule.h"
#include "espalier/lab/training/regrowth.h"
#include "runner.h"

namespace espalier::golden::granet_cases {
namespace {

std::vector<int64_t> integers(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kLong).contiguous();
  return {flat.data_ptr<int64_t>(), flat.data_ptr<int64_t>() + flat.numel()};
}

Tensors schedule(const Case& c) {
  const GraNetSchedule schedule{.interval = c.integer("dT"), .t0 = c.integer("t0"), .t1 = c.integer("t1"),
                                .initial_sparsity = c.number("s_i"), .final_sparsity = c.number("s_f"), .finish_exactly = false};
  check_granet_schedule(schedule);
  std::vector<int64_t> now;
  std::vector<double> sparsity;
  for (const int64_t step : integers(c.input("step"))) {
    const auto to = schedule.prune_to(step);
    now.push_back(to.has_value());
    sparsity.push_back(to.value_or(-1));
  }
  return {{"prune_now", at::tensor(now, at::kLong).to(at::kBool)}, {"sparsity", at::tensor(sparsity, at::kDouble)}};
}

Tensors regeneration_rate(const Case& c) {
  std::vector<double> rates;
  for (const int64_t t : integers(c.input("t"))) rates.push_back(cosine_rate(static_cast<double>(t), c.number("T"), c.number("p0"), c.number("p_min")));
  return {{"rate", at::tensor(rates, at::kDouble)}};
}

Tensors erk_density(const Case& c) {
  std::vector<Shape> shapes;
  for (const Json& shape : c.params.at("shapes")) shapes.push_back(shape.get<Shape>());
  return {{"layer_density", at::tensor(erk_densities(shapes, c.number("density")), at::kDouble)}};
}

// The mask between death and growth: a place that died may have grown again.
at::Tensor after_death(const at::Tensor& before, const Swap& swap) { return before.logical_and(swap.died.logical_not()); }

at::Tensor weights_after(const at::Tensor& weight, const at::Tensor& mask, const Swap& swap) {
  return (weight * mask).masked_fill(swap.grown, 0);
}

Tensors full_step(const Case& c) {
  LayerTensors weights, masks;
  while (c.has_input(fmt::format("W{}", weights.size()))) {
    const size_t l = weights.size();
    weights.push_back(c.input(fmt::format("W{}", l)));
    masks.push_back(c.input(fmt::format("M{}", l)).clone());
  }
  int64_t total = 0;
  LayerTensors magnitudes;
  for (const auto& weight : weights) {
    total += weight.numel();
    magnitudes.push_back(weight.abs());
  }
  const int64_t keep = granet_kept(c.number("sparsity"), total);
  remove_lowest(magnitudes, masks, std::max<int64_t>(0, alive_count(masks) - keep), c.name);
  Tensors outputs{{"keep", scalar(keep)}};
  std::vector<int64_t> swapped;
  for (size_t l = 0; l < weights.size(); ++l) {
    const at::Tensor pruned = masks[l].clone();
    const Swap swap = swap_weights(weights[l], masks[l], c.input(fmt::format("G{}", l)).abs(), c.number("rate"), c.name);
    swapped.push_back(swap.count);
    outputs[fmt::format("pruned_M{}", l)] = pruned;
    outputs[fmt::format("death_M{}", l)] = after_death(pruned, swap);
    outputs[fmt::format("final_M{}", l)] = masks[l];
    outputs[fmt::format("final_W{}", l)] = weights_after(weights[l], masks[l], swap);
  }
  outputs["swapped"] = at::tensor(swapped, at::kLong);
  return outputs;
}

Tensors one_swap(const Case& c) {
  const at::Tensor mask = c.input("M").clone();
  const Swap swap = swap_weights(c.input("W"), mask, c.input("G").abs(), c.number("rate"), c.name);
  return {{"death_M", after_death(c.input("M"), swap)},
          {"final_M", mask},
          {"final_W", weights_after(c.input("W"), mask, swap)},
          {"swapped", scalar(swap.count)}};
}

const Register kRegister("15-granet", {{"schedule", schedule},
                                       {"regeneration_rate", regeneration_rate},
                                       {"erk_density_*", erk_density},
                                       {"full_step", full_step},
                                       {"regeneration_ties", one_swap},
                                       {"dense_zero_gradient", one_swap}});

}  // namespace
}  // namespace espalier::golden::granet_cases
