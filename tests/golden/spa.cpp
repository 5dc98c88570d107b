#include "espalier/core/error.h"
#include "espalier/lab/criteria/group_importance.h"
#include "espalier/lab/repair/obs.h"
#include "espalier/lab/repair/obs_factor.h"
#include "espalier/lab/torch.h"
#include "runner.h"
#include "spa_graph.h"

namespace espalier::golden::spa_cases {
namespace {

at::Tensor integers(const std::vector<int32_t>& values) {
  return at::tensor(std::vector<int64_t>(values.begin(), values.end()), at::kLong);
}

void put_sets(const Graph& graph, const Coupling& coupling, Tensors& outputs) {
  for (const auto& parameter : graph.parameters()) {
    for (size_t axis = 0; axis < parameter->shape().size(); ++axis) {
      auto sets = coupling.canonical_sets(parameter->name(), axis);
      sets.resize(static_cast<size_t>(parameter->shape()[axis]), -1);
      outputs[fmt::format("{}:{}", parameter->name(), axis)] = integers(sets);
    }
  }
}

// Sets, groups and scores of a graph; with a ranking when the case says how much to remove.
Tensors groups(const Case& c) {
  const SpaGraph spa = read_spa_graph(c);
  const Coupling coupling = find_coupling(spa.graph, spa.options);
  Tensors outputs;
  put_sets(spa.graph, coupling, outputs);
  const SetScores scores =
      group_importance(coupling, magnitude_scores(spa.graph, c.number_or("p", 1)),
                       parse_aggregation(c.text_or("agg", "sum")), parse_group_normaliser(c.text_or("norm", "mean")));
  outputs["group_of_set"] = integers(scores.group_of_set);
  outputs["importance_raw"] = at::tensor(scores.raw, at::kDouble);
  outputs["importance"] = at::tensor(scores.normalised, at::kDouble);
  const auto ranking = rank_sets(scores.normalised);
  outputs["ranking"] = integers(ranking);
  const RemovalLimits limits{c.integer_or("min_channels", 1), c.integer_or("round_to", 1)};
  outputs["removed"] = integers(choose_removals(coupling, ranking, c.integer_or("remove_sets", 0), limits));
  return outputs;
}

// H = 2 X Xᵀ. The saliency of repair/obs.h is half of OBSPA's score.
Tensors obspa(const Case& c) {
  const at::Tensor w = c.input("W").to(at::kDouble), x = c.input("X").to(at::kDouble), gram = x.matmul(x.t());
  const double damp = c.number_or("damp", 0.01);
  const at::Tensor inverse = damped_inverse(2 * gram, damp, c.name);
  const at::Tensor columns = at::tensor(c.params.at("prune_columns").get<std::vector<int64_t>>(), at::kLong);
  const at::Tensor updated = obs_remove_columns(w, inverse, columns);
  return {{"H", damped_hessian(2 * gram, damp, c.name)},
          {"score", 2 * obs_saliency(w, inverse)},
          {"W_new", updated},
          {"err_zeroed", scalar(output_error(w, w.index_fill(1, columns, 0), gram))},
          {"err_updated", scalar(output_error(w, updated, gram))}};
}

const Register kRegister("08-spa",
                         {{"group_*", groups}, {"importance_*", groups}, {"ranking_*", groups}, {"obspa_*", obspa}});

}  // namespace
}  // namespace espalier::golden::spa_cases
