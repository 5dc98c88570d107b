#include "espalier/core/error.h"
#include "espalier/lab/allocation/global_magnitude.h"
#include "espalier/lab/allocation/min_keep_rates.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/density_schedule.h"
#include "runner.h"

namespace espalier::golden::global_mp_cases {
namespace {

// W0, W1, … as far as they go.
std::vector<at::Tensor> weights_of(const Case& c) {
  std::vector<at::Tensor> weights;
  while (c.has_input(fmt::format("W{}", weights.size()))) {
    weights.push_back(c.floats(fmt::format("W{}", weights.size())));
  }
  return weights;
}

GlobalCut rank(const std::vector<at::Tensor>& weights, double sparsity, int64_t min_keep) {
  std::vector<LayerWeights> layers;
  for (const auto& w : weights) layers.push_back({fmt::format("W{}", layers.size()), w.numel(), [w] { return w; }});
  return global_magnitude(layers, sparsity, min_keep);
}

void put_masks(Tensors& outputs, const std::string& prefix, const std::vector<at::Tensor>& weights,
               const GlobalCut& cut) {
  std::vector<int64_t> kept;
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto mask = magnitude_cut_mask(weights[i], cut.cuts[i]);
    outputs[fmt::format("{}M{}", prefix, i)] = mask;
    kept.push_back(mask.sum().item<int64_t>());
  }
  outputs[prefix + "kept"] = at::tensor(kept, at::kLong);
}

at::Tensor densities(const GlobalCut& cut) {
  std::vector<double> values;
  for (size_t i = 0; i < cut.cuts.size(); ++i) values.push_back(cut.density(i));
  return at::tensor(values, at::kDouble);
}

std::vector<double> doubles(const at::Tensor& tensor) {
  const auto flat = tensor.to(at::kDouble).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

Tensors one_ranking(const Case& c) {
  const auto weights = weights_of(c);
  const auto cut = rank(weights, c.number("sparsity"), c.integer_or("min_keep", 0));
  Tensors outputs{
      {"n_removed", scalar(cut.removed)}, {"threshold", scalar(cut.threshold)}, {"layer_density", densities(cut)}};
  put_masks(outputs, "", weights, cut);
  return outputs;
}

Tensors layer_collapse(const Case& c) {
  const auto weights = weights_of(c);
  Tensors outputs;
  put_masks(outputs, "plain_", weights, rank(weights, c.number("sparsity"), 0));
  put_masks(outputs, "mt_", weights, rank(weights, c.number("sparsity"), c.integer("min_keep")));
  return outputs;
}

Tensors rate_refinement(const Case& c) {
  const auto rates = refine_rates(doubles(c.input("n_weights")), doubles(c.input("layer_sparsity_plain")),
                                  c.number("sparsity"), c.integer("min_keep"));
  return {{"layer_sparsity", at::tensor(rates.sparsity, at::kDouble)}};
}

Tensors rate_masks(const Case& c) {
  const auto weights = weights_of(c);
  const auto plain = at::rsub(densities(rank(weights, c.number("sparsity"), 0)), 1.0);
  std::vector<double> sizes;
  for (const auto& w : weights) sizes.push_back(static_cast<double>(w.numel()));
  const auto rates = refine_rates(sizes, doubles(plain), c.number("sparsity"), c.integer("min_keep"));
  Tensors outputs{{"layer_sparsity_plain", plain}, {"layer_sparsity", at::tensor(rates.sparsity, at::kDouble)}};
  std::vector<int64_t> removed;
  for (size_t i = 0; i < weights.size(); ++i) {
    removed.push_back(layer_removal(rates.sparsity[i], weights[i].numel()));
    outputs[fmt::format("M{}", i)] = magnitude_count_mask(weights[i], removed.back(), c.name);
  }
  outputs["removed"] = at::tensor(removed, at::kLong);
  return outputs;
}

Tensors gradual_cubic(const Case& c) {
  const double t0 = c.number("t0"), t1 = c.number("t1");
  const DensityCurve curve{DensityShape::kCubic, 1 - c.number("s0"), 1 - c.number("s1")};
  std::vector<double> sparsity;
  for (double t : doubles(c.input("t"))) sparsity.push_back(1 - curve.at((t - t0) / (t1 - t0)));
  return {{"sparsity", at::tensor(sparsity, at::kDouble)}};
}

const Register kRegister("24-global-mp", {{"global_s50", one_ranking},
                                          {"global_s80", one_ranking},
                                          {"ties", one_ranking},
                                          {"layer_collapse_min_keep", layer_collapse},
                                          {"official_rate_refinement", rate_refinement},
                                          {"official_rate_masks", rate_masks},
                                          {"gradual_cubic", gradual_cubic}});

}  // namespace
}  // namespace espalier::golden::global_mp_cases
