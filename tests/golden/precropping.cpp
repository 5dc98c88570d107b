#include "espalier/core/error.h"
#include "espalier/lab/allocation/channel_widths.h"
#include "espalier/lab/allocation/water_filling.h"
#include "espalier/lab/criteria/synflow.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::precropping_cases {
namespace {

template <typename T>
std::vector<T> values(const at::Tensor& tensor) {
  const auto flat = tensor.to(c10::CppTypeToScalarType<T>::value).contiguous();
  return {flat.template data_ptr<T>(), flat.template data_ptr<T>() + flat.numel()};
}

std::optional<double> budget(const Case& c, const std::string& key) {
  const auto found = c.params.find(key);
  if (found == c.params.end() || found->is_null()) return std::nullopt;
  return c.number(key);
}

Tensors densities(const Case& c) {
  const LayerCosts costs{values<double>(c.input("params")), values<double>(c.input("flops"))};
  const auto filled = fill_densities(costs, {budget(c, "param_budget"), budget(c, "flop_budget")});
  return {{"density", at::tensor(filled.density, at::kDouble)},
          {"sum_params", scalar(weighted_sum(costs.params, filled.density))},
          {"sum_flops", scalar(weighted_sum(costs.flops, filled.density))}};
}

Tensors channels(const Case& c) {
  const auto density = values<double>(c.input("density"));
  auto widths = values<int64_t>(c.input("cout"));
  for (const Json& set : c.params.at("sets")) {
    std::vector<double> own;
    for (const Json& layer : set) own.push_back(density.at(layer.get<size_t>()));
    for (const Json& layer : set)
      widths[layer.get<size_t>()] = scaled_width(widths.at(layer.get<size_t>()), width_factor(own), c.integer_or("round_to", 1));
  }
  return {{"cout_new", at::tensor(widths, at::kLong)}};
}

// Linear layers in a row, without biases: every input path times every output path.
std::vector<at::Tensor> chain_scores(const std::vector<at::Tensor>& magnitudes) {
  std::vector<at::Tensor> scores, forward;
  at::Tensor x = at::ones({magnitudes.front().size(1)}, at::kDouble);
  for (const auto& w : magnitudes) {
    forward.push_back(x);
    x = w.mv(x);
  }
  at::Tensor back = at::ones({magnitudes.back().size(0)}, at::kDouble);
  for (size_t l = magnitudes.size(); l-- > 0;) {
    scores.insert(scores.begin(), magnitudes[l] * at::outer(back, forward[l]));
    back = magnitudes[l].t().mv(back);
  }
  return scores;
}

Tensors synflow(const Case& c) {
  std::vector<at::Tensor> weights;
  while (c.has_input(fmt::format("W{}", weights.size()))) weights.push_back(c.input(fmt::format("W{}", weights.size())).to(at::kDouble));
  const auto result = iterate_synflow(weights, c.number("density"), c.integer("iterations"), chain_scores);
  Tensors outputs{{"layer_density", at::tensor(result.density, at::kDouble)}};
  for (size_t l = 0; l < weights.size(); ++l) {
    outputs[fmt::format("score_first{}", l)] = result.first_scores[l];
    outputs[fmt::format("keep{}", l)] = result.keep[l];
    outputs[fmt::format("round_removed{}", l)] = result.round_removed[l];
  }
  return outputs;
}

const Register kRegister("35-precropping", {{"density_*", densities}, {"channels*", channels}, {"synflow_*", synflow}});

}  // namespace
}  // namespace espalier::golden::precropping_cases
