// What structured methods share: the sub-layers' scores per unit become a cut of the coupling groups.
#pragma once

#include "espalier/graph/sublayers.h"
#include "espalier/lab/methods/job.h"
#include "espalier/structure/surgery.h"

namespace espalier {

// Head groups or neurons of a block, from the coupling; nullptr when the block has none that may be cut.
const CouplingGroup* units_of(const Coupling& coupling, GroupKind kind, int block);

// Keeps all but the `remove` lowest of a group's sets (lowest index first among equals), noting what went.
// scores: one a set.
GroupCut lowest_removed(PruneJob& job, const CouplingGroup& group, const std::vector<double>& scores, int64_t remove, const std::string& unit);

// Share of the parameters that are gone.
double removed_share(int64_t params_before, const Graph& graph);

}  // namespace espalier
