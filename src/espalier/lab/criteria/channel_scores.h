// What a channel (or any coupled set) is worth, by name: criteria for single weights, made structured by SPA's sums over
// slices (group_importance.h), and two that look at whole filters.
#pragma once

#include <functional>
#include <string>

#include "espalier/lab/criteria/group_importance.h"
#include "espalier/lab/criteria/loss_gradients.h"

namespace espalier {

enum class ChannelCriterion {
  kL1,       // |w|
  kL2,       // w²
  kTaylor,   // |w g|, g the gradient of the loss
  kFisher,   // (w g)²
  kGrasp,    // −w (H g)
  kBnScale,  // |γ| of batch norms; sets without one stay
  kFpgm,     // of a filter (row of a Conv or Linear weight) the sum of its distances to the layer's other filters
  kRandom,   // uniform, one number a set
  kObs,      // w² / [H⁻¹]jj, H from the layers' inputs
};
ChannelCriterion channel_criterion(const std::string& name);  // l1, l2, taylor, fisher, grasp, bn-scale, fpgm, random, obs
bool needs_gradients(ChannelCriterion criterion);

struct ChannelScoring {
  ChannelCriterion criterion = ChannelCriterion::kL1;
  Aggregation aggregation = Aggregation::kSum;
  GroupNormaliser normaliser = GroupNormaliser::kMean;
  std::function<std::vector<LossBatch>()> losses;                  // asked when gradients are needed
  std::function<ElementScores(const Graph& graph)> obs_scores;     // asked for kObs (repair/obspa.h)
  uint64_t seed = 0;
};

// Groups of which no member has a score (kBnScale, kFpgm) get infinite scores: they go last, and only if all else is
// gone. UserError when that is all groups.
SetScores score_sets(const Graph& graph, const Coupling& coupling, const ChannelScoring& scoring);

// fp64 [filters]: the sum of the Euclidean distances between each row of a weight and all others.
at::Tensor filter_distances(const at::Tensor& rows);

}  // namespace espalier
