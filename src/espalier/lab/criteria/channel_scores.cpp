#include "espalier/lab/criteria/channel_scores.h"

#include <limits>
#include <map>
#include <set>

#include "espalier/core/choice.h"
#include "espalier/core/rng.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/measure/layer_columns.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, ChannelCriterion> kCriteria[] = {
    {"l1", ChannelCriterion::kL1},       {"l2", ChannelCriterion::kL2},           {"taylor", ChannelCriterion::kTaylor},
    {"fisher", ChannelCriterion::kFisher}, {"grasp", ChannelCriterion::kGrasp},   {"bn-scale", ChannelCriterion::kBnScale},
    {"fpgm", ChannelCriterion::kFpgm},   {"random", ChannelCriterion::kRandom},   {"obs", ChannelCriterion::kObs}};

at::Tensor wide_weight(const Graph& graph, const std::string& name) { return to_torch(graph.parameter(name).load()).to(at::kDouble); }

ElementScores gradient_scores(const Graph& graph, ChannelCriterion criterion, const std::vector<LossBatch>& batches) {
  const auto factors = std::make_shared<const Gradients>(criterion == ChannelCriterion::kGrasp ? hessian_gradient_products(graph, batches)
                                                                                               : mean_gradients(graph, batches));
  return [&graph, criterion, factors](const std::string& name) -> at::Tensor {
    const auto found = factors->find(name);
    if (found == factors->end()) return {};
    const at::Tensor product = wide_weight(graph, name) * found->second.to(at::kDouble);
    if (criterion == ChannelCriterion::kGrasp) return -product;
    return criterion == ChannelCriterion::kTaylor ? product.abs() : product.square();
  };
}

// Every parameter with its role in the first node that has it.
std::map<std::string, std::pair<const Node*, std::string>> roles_of(const Graph& graph) {
  std::map<std::string, std::pair<const Node*, std::string>> roles;
  for (const auto& node : graph.nodes)
    for (const auto& [role, name] : node.params) roles.try_emplace(name, &node, role);
  return roles;
}

// Means and variances of batch norms are measurements, not weights.
ElementScores without_statistics(const Graph& graph, ElementScores scores) {
  return [scores = std::move(scores), statistics = statistics_of(graph)](const std::string& name) -> at::Tensor {
    return statistics.count(name) ? at::Tensor() : scores(name);
  };
}

SliceScores norm_scales(const Graph& graph) {
  return [&graph, roles = roles_of(graph)](const CouplingMember& member) -> std::vector<double> {
    const auto& [node, role] = roles.at(member.param);
    if (node->op != "BatchNorm" || role != "weight") return {};
    const at::Tensor scale = wide_weight(graph, member.param).abs().contiguous();
    return {scale.data_ptr<double>(), scale.data_ptr<double>() + scale.numel()};
  };
}

SliceScores distances(const Graph& graph) {
  return [&graph, roles = roles_of(graph)](const CouplingMember& member) -> std::vector<double> {
    const auto& [node, role] = roles.at(member.param);
    if (!is_weighted_layer(*node) || role != "weight" || member.axis == input_axis(*node)) return {};
    const at::Tensor weight = wide_weight(graph, member.param);
    const at::Tensor sums = filter_distances(member.axis == 0 ? weight.flatten(1) : weight.t());
    return {sums.data_ptr<double>(), sums.data_ptr<double>() + sums.numel()};
  };
}

SetScores random_scores(const Coupling& coupling, uint64_t seed) {
  Rng rng(seed, "random channels");
  SetScores scores = group_importance(coupling, [](const std::string&) { return at::Tensor(); }, Aggregation::kSum, GroupNormaliser::kNone);
  for (double& score : scores.raw) score = rng.uniform();
  scores.normalised = scores.raw;
  return scores;
}

SetScores partial_scores(const Coupling& coupling, const SliceScores& slices, const ChannelScoring& scoring) {
  SetScores scores = group_importance_of_slices(coupling, slices, scoring.aggregation, scoring.normaliser);
  bool any = coupling.groups.empty();
  for (const auto& group : coupling.groups) {
    const bool scored = std::any_of(group.members.begin(), group.members.end(), [&](const auto& member) { return !slices(member).empty(); });
    any = any || scored;
    if (scored) continue;
    for (int32_t set : group.canonical) scores.normalised[static_cast<size_t>(set)] = std::numeric_limits<double>::infinity();
  }
  if (!any) user_error("the criterion finds nothing to score: no channel of the model has {}", scoring.criterion == ChannelCriterion::kBnScale ? "a batch norm" : "a filter of its own");
  return scores;
}

}  // namespace

ChannelCriterion channel_criterion(const std::string& name) { return choice_from_name("criterion", name, kCriteria); }

bool needs_gradients(ChannelCriterion criterion) {
  return criterion == ChannelCriterion::kTaylor || criterion == ChannelCriterion::kFisher || criterion == ChannelCriterion::kGrasp;
}

SetScores score_sets(const Graph& graph, const Coupling& coupling, const ChannelScoring& scoring) {
  const auto of_elements = [&](const ElementScores& scores) { return group_importance(coupling, scores, scoring.aggregation, scoring.normaliser); };
  switch (scoring.criterion) {
    case ChannelCriterion::kL1:
      return of_elements(without_statistics(graph, magnitude_scores(graph, 1)));
    case ChannelCriterion::kL2:
      return of_elements(without_statistics(graph, magnitude_scores(graph, 2)));
    case ChannelCriterion::kTaylor:
    case ChannelCriterion::kFisher:
    case ChannelCriterion::kGrasp:
      return of_elements(gradient_scores(graph, scoring.criterion, scoring.losses()));
    case ChannelCriterion::kBnScale:
      return partial_scores(coupling, norm_scales(graph), scoring);
    case ChannelCriterion::kFpgm:
      return partial_scores(coupling, distances(graph), scoring);
    case ChannelCriterion::kRandom:
      return random_scores(coupling, scoring.seed);
    case ChannelCriterion::kObs:
      return of_elements(scoring.obs_scores(graph));
  }
  bug(__FILE__, __LINE__, "a criterion without a rule");
}

at::Tensor filter_distances(const at::Tensor& rows) {
  const at::Tensor wide = rows.to(at::kDouble).contiguous();
  return at::cdist(wide, wide, 2.0, /*compute_mode=*/2).sum(1).contiguous();
}

}  // namespace espalier
