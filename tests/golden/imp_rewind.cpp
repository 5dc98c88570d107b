#include "espalier/core/error.h"
#include "espalier/lab/criteria/alive_ranking.h"
#include "espalier/lab/measure/weight_distance.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden {
namespace {

// Removes the share of what is alive; returns how many.
int64_t prune(const LayerTensors& weights, const LayerTensors& masks, double share, const std::string& where) {
  LayerTensors magnitudes;
  for (const auto& weight : weights) magnitudes.push_back(weight.abs());
  const int64_t removed = share_of(share, alive_count(masks));
  remove_lowest(magnitudes, masks, removed, where);
  return removed;
}

Tensors two_rounds(const Case& c) {
  LayerTensors masks;
  for (const char* name : {"W0_round1", "W1_round1"}) masks.push_back(at::ones(c.input(name).sizes(), at::kBool));
  Tensors outputs;
  std::vector<int64_t> removed, remaining;
  for (const char* round : {"1", "2"}) {
    const std::string suffix = std::string("_round") + round;
    removed.push_back(prune({c.input("W0" + suffix), c.input("W1" + suffix)}, masks, c.number("fraction"), c.name));
    remaining.push_back(alive_count(masks));
    for (size_t l = 0; l < masks.size(); ++l) outputs[fmt::format("M{}{}", l, suffix)] = masks[l].clone();
  }
  outputs["removed"] = at::tensor(removed, at::kLong);
  outputs["remaining"] = at::tensor(remaining, at::kLong);
  return outputs;
}

Tensors one_round(const Case& c) {
  const at::Tensor mask = c.input("mask_in").clone();
  const int64_t removed = prune({c.input("W")}, {mask}, c.number("fraction"), c.name);
  return {{"mask_out", mask}, {"removed", scalar(removed)}};
}

Tensors remaining_schedule(const Case& c) {
  std::vector<int64_t> remaining;
  std::vector<double> ideal;
  int64_t left = c.integer("start");
  for (int64_t round = 0; round < c.input("round").numel(); ++round) {
    remaining.push_back(left);
    ideal.push_back(std::pow(1 - c.number("fraction"), static_cast<double>(round)));
    left -= share_of(c.number("fraction"), left);
  }
  return {{"remaining", at::tensor(remaining, at::kLong)}, {"remaining_fraction_ideal", at::tensor(ideal, at::kDouble)}};
}

// Logistic regression by plain descent on the mean gradient, the weights masked before the first and after every step.
at::Tensor descend(const at::Tensor& x, const at::Tensor& y, at::Tensor w, const at::Tensor& mask, int64_t steps, double rate) {
  w = w * mask;
  for (int64_t step = 0; step < steps; ++step) {
    const at::Tensor gradient = x.t().mv(at::sigmoid(x.mv(w)) - y) / static_cast<double>(x.size(0));
    w = (w - rate * gradient) * mask;
  }
  return w;
}

Tensors rewinding(const Case& c) {
  const int64_t steps = c.integer("steps"), rewind = c.integer("rewind");
  const double rate = c.number("lr");
  const at::Tensor x = c.input("X"), y = c.input("y"), initial = c.input("w_init");
  const at::Tensor mask = at::ones(initial.sizes(), at::kBool);
  const at::Tensor early = descend(x, y, initial, mask, rewind, rate), dense = descend(x, y, early, mask, steps - rewind, rate);
  prune({dense}, {mask}, c.number("fraction"), c.name);
  const at::Tensor sub = descend(x, y, early, mask, steps - rewind, rate), sub0 = descend(x, y, initial, mask, steps, rate);
  return {{"w_final_dense", dense},
          {"w_rewind", early},
          {"mask", mask},
          {"w_sub_final", sub},
          {"w_sub0_final", sub0},
          {"l2_pruning_stability", scalar(l2_distance({sub}, {dense * mask}))},
          {"l2_pruning_stability_rewind0", scalar(l2_distance({sub0}, {dense * mask}))},
          {"angle_deg_from_rewind", scalar(angle_between({sub}, {dense * mask}, {early * mask}))}};
}

Tensors two_orders(const Case& c) {
  const at::Tensor mask = c.input("mask"), start = c.input("w_rewind") * mask;
  const auto on = [&](const char* rows) {
    return descend(c.input("X").index_select(0, c.input(rows)), c.input("y").index_select(0, c.input(rows)), start, mask,
                   c.integer("steps") - c.integer("rewind"), c.number("lr"));
  };
  const at::Tensor a = on("rows_a"), b = on("rows_b");
  return {{"w_a", a}, {"w_b", b}, {"l2", scalar(l2_distance({a}, {b}))}, {"angle_deg", scalar(angle_between({a}, {b}, {start}))}};
}

const Register kRegister("18-imp-rewind", {{"two_rounds", two_rounds},
                                           {"ties_and_alive_zeros", one_round},
                                           {"one_alive", one_round},
                                           {"remaining_schedule", remaining_schedule},
                                           {"rewind_and_pruning_stability", rewinding},
                                           {"data_order_stability", two_orders}});

}  // namespace
}  // namespace espalier::golden
