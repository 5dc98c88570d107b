#include "espalier/lab/criteria/activating.h"

#include "espalier/core/error.h"
#include "espalier/lab/measure/dead_units.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::activating_cases {
namespace {

LayerTensors numbered(const Case& c, const std::string& prefix) {
  LayerTensors tensors;
  while (c.has_input(fmt::format("{}{}", prefix, tensors.size()))) tensors.push_back(c.input(fmt::format("{}{}", prefix, tensors.size())));
  return tensors;
}

LayerTensors copies(const LayerTensors& tensors) {
  LayerTensors result;
  for (const auto& tensor : tensors) result.push_back(tensor.clone());
  return result;
}

Tensors round(const Case& c) {
  const LayerTensors end = numbered(c, "W"), start = numbered(c, "start_W");
  LayerTensors masks, magnitudes, movement;
  for (size_t l = 0; l < end.size(); ++l) {
    masks.push_back(at::ones(end[l].sizes(), at::kBool));
    magnitudes.push_back(end[l].abs());
    movement.push_back(weight_movement(end[l], start[l]).flatten());
  }
  const int64_t alive = alive_count(masks);
  const double total = c.number("total_percent"), ap = c.number("ap_percent");
  const int64_t base = percent_of(alive, total - ap), count = percent_of(alive, ap);
  remove_lowest(magnitudes, masks, base, c.name);
  const LayerTensors after_base = copies(masks);
  Rng unused(0, "golden");
  remove_holding_down(end, start, masks, count, {}, unused, c.name);
  Tensors outputs{{"removed_magnitude", scalar(base)}, {"ap_count", scalar(count)}, {"movement", at::cat(movement)}};
  for (size_t l = 0; l < masks.size(); ++l) {
    outputs[fmt::format("after_magnitude_M{}", l)] = after_base[l];
    outputs[fmt::format("final_M{}", l)] = masks[l];
  }
  return outputs;
}

Tensors one_choice(const Case& c) {
  const at::Tensor mask = c.input("mask_in").clone();
  Rng unused(0, "golden");
  const int64_t removed = remove_holding_down({c.input("W")}, {c.input("start_W")}, {mask}, c.integer("count"), {}, unused, c.name);
  return {{"mask_out", mask}, {"removed", scalar(removed)}, {"movement", weight_movement(c.input("W"), c.input("start_W"))}};
}

Tensors rewind(const Case& c) { return {{"start_next_round", c.input("initial") * c.input("mask")}}; }

Tensors two_layers(const Case& c) {
  at::Tensor x = c.input("X");
  std::vector<DeadUnits> layers;
  for (const char* layer : {"1", "2"}) {
    const at::Tensor mask = c.input(std::string("M") + layer), bias = c.input(std::string("b") + layer);
    const at::Tensor before = at::linear(x, c.input(std::string("W") + layer) * mask, bias);
    layers.push_back(count_dead(before, mask.any(1)));
    x = before.relu();
  }
  const DeadRate rate = dead_rate(layers);
  return {{"per_layer", at::tensor(rate.layers, at::kDouble)},
          {"total", scalar(rate.total)},
          {"static", scalar(rate.unfed)},
          {"dynamic", scalar(rate.dynamic)}};
}

Tensors conv_map(const Case& c) {
  const DeadUnits count = count_dead(c.input("preact"), c.input("channel_has_weights"));
  return {{"dead_share", scalar(count.share())}, {"dead_share_per_channel", count.channel_share()}};
}

const Register kRegister("41-activating-while-pruning", {{"round_*", round},
                                                         {"ties_and_sign", one_choice},
                                                         {"no_negative_weights", one_choice},
                                                         {"rewind", rewind},
                                                         {"dead_neuron_rate", two_layers},
                                                         {"static_node_with_positive_bias", two_layers},
                                                         {"conv_map_rate", conv_map}});

}  // namespace
}  // namespace espalier::golden::activating_cases
