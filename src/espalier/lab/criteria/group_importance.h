// How much a coupled set matters (SPA, section B): any per-parameter criterion, summed over the slices that the set
// removes, put together over them, and made comparable between groups. Sets are numbered canonically, over all groups.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "espalier/structure/coupling.h"

namespace espalier {

enum class Aggregation { kSum, kMean, kMax, kProd };              // over the slices of a set
enum class GroupNormaliser { kMean, kMax, kSum, kNone };          // what a group's scores are divided by
Aggregation parse_aggregation(const std::string& name);           // sum, mean, max, prod; UserError
GroupNormaliser parse_group_normaliser(const std::string& name);  // mean, max, sum, none; UserError

// Of a parameter, one score an element in the shape of the parameter; undefined: it takes no part (statistics of
// norms).
using ElementScores = std::function<at::Tensor(const std::string& parameter)>;
ElementScores magnitude_scores(const Graph& graph, double p);  // |w|^p

// Of a member, one score an index of its axis: for criteria that know slices and no elements. Empty: it takes no part.
using SliceScores = std::function<std::vector<double>(const CouplingMember& member)>;

struct SetScores {
  std::vector<double> raw, normalised;  // by canonical set
  std::vector<int32_t> group_of_set;
};

// A slice is one index of one parameter dim; an element in two slices of a set counts twice. fp64. A set without slices
// that take part scores 0; a group whose divisor is 0 scores 0 throughout. UserError when a score is not a number.
SetScores group_importance(const Coupling& coupling, const ElementScores& scores, Aggregation aggregation,
                           GroupNormaliser normaliser);

SetScores group_importance_of_slices(const Coupling& coupling, const SliceScores& scores, Aggregation aggregation,
                                     GroupNormaliser normaliser);

// All sets, the first to go first: ascending scores, the lower number first among equals.
std::vector<int32_t> rank_sets(const std::vector<double>& scores);

struct RemovalLimits {
  int64_t min_channels = 1;  // sets that every dim of a parameter keeps
  int64_t round_to = 1;      // kept sets of a group: rounded up to a multiple
  bool round_heads = true;   // attention heads too, although a head is many channels
};

// The first `count` of the ranking that may go, in their order. A set is passed over when a parameter dim would keep
// fewer sets than min_channels. Then each group's kept count goes up to a multiple of round_to (or to all), the last
// removed coming back first, without replacement; so the list may be shorter than `count`.
std::vector<int32_t> choose_removals(const Coupling& coupling, const std::vector<int32_t>& ranking, int64_t count,
                                     const RemovalLimits& limits);

}  // namespace espalier
