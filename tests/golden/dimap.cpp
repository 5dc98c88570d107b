#include "espalier/core/error.h"
#include "espalier/lab/allocation/module_ranking.h"
#include "espalier/lab/criteria/dimap_scores.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::dimap_cases {
namespace {

Tensors module(const Case& c) {
  std::vector<LayerWeights> layers;
  for (int64_t l = 0; l < c.integer("n_layers"); ++l) {
    const at::Tensor w = c.input(fmt::format("W{}", l)).to(at::kDouble);
    layers.push_back({fmt::format("W{}", l), w.numel(), [w] { return w; }});
  }
  const ModuleCut cut = rank_module(layers, c.number("ratio"), dimap_scores);
  Tensors outputs{{"threshold", scalar(cut.threshold)}};
  for (size_t l = 0; l < layers.size(); ++l) {
    outputs[fmt::format("imp{}", l)] = dimap_scores(layers[l].load(), layers[l].name);
    outputs[fmt::format("keep{}", l)] = module_cut_mask(layers[l].load(), cut.cuts[l], dimap_scores, layers[l].name);
  }
  return outputs;
}

const Register kRegister("43-dimap", {{"two_layers_half", module}, {"three_layers_scale", module}, {"zeros_and_ties", module}, {"ratio_zero", module}});

}  // namespace
}  // namespace espalier::golden::dimap_cases
