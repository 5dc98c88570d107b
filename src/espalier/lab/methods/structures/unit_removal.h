// What structured methods share: scores of heads and neurons become a cut of the coupling groups.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "espalier/lab/methods/job.h"
#include "espalier/structure/surgery.h"

namespace espalier {

// What can be cut in every block. With several KV heads whole KV groups go; with a single one (MQA) query heads go and K
// and V stay.
struct Units {
  Coupling coupling;
  bool query_heads = false;
  std::string name_of(GroupKind kind) const;  // "head", "kv_group", "neuron"
};
Units find_units(const PruneJob& job);

// Scores of consecutive parts (query heads, channels of the output projection) summed over the parts of each set.
std::vector<double> sums_per_set(const std::vector<double>& parts, const CouplingGroup& group);

// Keeps all but the `remove` lowest of a group's sets (lowest index first among equals; aligned: fewer may go), noting
// what went. scores: one a set.
GroupCut lowest_removed(PruneJob& job, const CouplingGroup& group, const std::vector<double>& scores, int64_t remove, const std::string& unit);

// One a set, for trials.
std::vector<double> arbitrary_scores(const CouplingGroup& group);

// Removes the job's share of heads and of neurons from every block in [first, last) and cuts the graph. Reached is the
// mean over those groups of the share that went. Findings: "scores" by group, "params_share" of the model removed.
using ScoresOfGroup = std::function<std::vector<double>(const CouplingGroup& group)>;
void remove_share_of_units(PruneJob& job, int first, int last, const ScoresOfGroup& scores_of);

// A quarter of the units (of the blocks that `method` does not skip) against random units of as many parameters.
Reproduction against_random_units(ReproduceContext& context, const std::string& method, const std::string& claim);

// Share of the parameters that are gone.
double removed_share(int64_t params_before, const Graph& graph);

// The coordinates of methods that cut heads and neurons of language models at once, block by block, with unlabelled text.
// repair and fusion: what the method's paper does for the survivors ("none", ""; "light", "peft").
Taxonomy unit_taxonomy(const std::string& criterion, const std::string& repair, const std::string& fusion);

}  // namespace espalier
