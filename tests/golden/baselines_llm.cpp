#include "espalier/lab/criteria/block_influence.h"
#include "espalier/lab/criteria/magnitude.h"
#include "espalier/lab/criteria/principal_basis.h"
#include "espalier/lab/criteria/sparsegpt.h"
#include "espalier/lab/criteria/taylor.h"
#include "espalier/lab/criteria/wanda.h"
#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/repair/obs.h"
#include "espalier/lab/repair/obs_factor.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::baselines_llm_cases {
namespace {

constexpr NOfM kTwoOfFour{2, 4};

Pattern by(const Case& c, Scope scope) { return {.sparsity = c.number_or("sparsity", 0.5), .scope = scope}; }
const Pattern kHalfOfFour{.n_of_m = kTwoOfFour};

GramAccumulator gram_of(const Case& c) {
  const auto x = c.floats("X");
  GramAccumulator gram(x.size(-1), c.name);
  gram.add(x);
  return gram;
}

Tensors magnitude(const Case& c) {
  const auto w = c.floats("W");
  return {{"mask_layer", magnitude_mask(w, by(c, Scope::kLayer), c.name)},
          {"mask_row", magnitude_mask(w, by(c, Scope::kRow), c.name)},
          {"mask_2_4", magnitude_mask(w, kHalfOfFour, c.name)}};
}

Tensors wanda(const Case& c) {
  const auto w = c.floats("W"), x = c.floats("X");
  ColumnNorms norms(x.size(-1), c.name);
  norms.add(x);
  return {{"col_norm", norms.norms()},
          {"score", wanda_scores(w, norms.norms(), c.name)},
          {"channel_score", wanda_channel_scores(w, norms.norms(), c.name)},
          {"mask_row", wanda_mask(w, norms.norms(), by(c, Scope::kRow), c.name)},
          {"mask_layer", wanda_mask(w, norms.norms(), by(c, Scope::kLayer), c.name)},
          {"mask_2_4", wanda_mask(w, norms.norms(), kHalfOfFour, c.name)}};
}

Tensors sparse_gpt(const Case& c) {
  const auto w = c.floats("W");
  const auto gram = gram_of(c);
  SparseGptOptions options{
      .sparsity = c.number_or("sparsity", 0.5), .block = c.integer_or("block", 128), .damp = c.number_or("damp", 0.01)};
  if (c.params.contains("m")) options.n_of_m = NOfM{c.integer("n"), c.integer("m")};
  const auto [w_new, keep] = sparsegpt(w, gram.hessian(), options, c.name);
  return {{"W_new", w_new},
          {"keep", keep},
          {"error", scalar(output_error(w, w_new, gram.gram()))},
          {"error_no_update", scalar(output_error(w, w * keep, gram.gram()))}};
}

Tensors obs_single(const Case& c) {
  const auto w = c.floats("w");
  const auto inverse = damped_inverse(gram_of(c).hessian(), c.number_or("damp", 0.01), c.name);
  const auto [w_new, next] = obs_remove(w, inverse, c.integer("q"));
  return {{"saliency", obs_saliency(w, inverse)}, {"w_new", w_new}, {"Hinv_next", next}};
}

Tensors taylor(const Case& c) {
  const auto w = c.floats("W"), gradients = c.floats("sample_grads");
  TaylorStatistics statistics(c.name);
  for (int64_t i = 0; i < gradients.size(0); ++i) statistics.add(gradients[i]);
  Tensors outputs{{"vector_rows", taylor_importance(Taylor::kVector, w, statistics)}};
  for (const std::string kind : {"param_first", "param_second", "param_mix"}) {
    const auto elements = taylor_importance(taylor_from_name(kind), w, statistics);
    outputs[kind] = elements;
    outputs["rows_" + kind] = unit_importance(elements, 0, 1);
  }
  return outputs;
}

Tensors block_influence(const Case& c) {
  const auto hidden = c.floats("hidden");
  BlockInfluence influence(hidden.size(0) - 1);
  for (int64_t i = 0; i + 1 < hidden.size(0); ++i) influence.add(i, hidden[i], hidden[i + 1]);
  return {{"bi", influence.influence()}, {"order", removal_order(influence.influence(), c.name)}};
}

Tensors slicegpt_projection(const Case& c) {
  const auto x = c.floats("X");
  const int64_t keep = c.integer("keep");
  const auto basis = principal_basis(gram_of(c).gram(), c.name);
  return {{"eigenvalues", basis.eigenvalues},
          {"X_projected", project(basis, x, keep)},
          {"lost_energy", scalar(lost_energy(basis, keep))}};
}

const Register kRegister("00-baselines-llm", {{"magnitude", magnitude},
                                              {"ties_lowest_index_first", magnitude},
                                              {"wanda", wanda},
                                              {"sparsegpt", sparse_gpt},
                                              {"sparsegpt_2_4", sparse_gpt},
                                              {"sparsegpt_dead_input", sparse_gpt},
                                              {"obs_single", obs_single},
                                              {"taylor", taylor},
                                              {"block_influence", block_influence},
                                              {"slicegpt_projection", slicegpt_projection}});

}  // namespace
}  // namespace espalier::golden::baselines_llm_cases
