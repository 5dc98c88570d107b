// What the methods that remove coupled sets share (SPA, sections B and C): options, how many sets of a ranking meet a
// budget, the cut, and the report.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "espalier/lab/allocation/time_search.h"
#include "espalier/lab/criteria/channel_scores.h"
#include "espalier/lab/methods/job.h"
#include "espalier/structure/surgery.h"

namespace espalier {

struct SetRemoval {
  CouplingOptions coupling;
  RemovalLimits limits;
  std::set<GroupKind> kinds;  // groups that may be cut
  bool local = false;         // every group loses the same share, instead of one ranking of all
  int64_t steps = 1;          // rounds of equal shares, each scored anew
};

// Options "groups", "scope", "round-to", "min-channels", "steps", "group-conv", "split" of a method, and their records.
SetRemoval set_removal(const PruneJob& job);
CouplingOptions coupling_options(const PruneJob& job);  // of "group-conv", "split" and what is protected
std::vector<OptionSpec> set_removal_options(const std::string& scope = "global", std::vector<OptionSpec> first = {});

// The coupling with the options, and one warning for each operator that nothing is known of. Query heads go instead of
// KV groups where every attention has a single KV head.
Coupling coupling_for(const PruneJob& job, const CouplingOptions& options, const Graph& graph);

// Share of the job's budget unit that is gone in `graph`, a cut of the job's model: of params, flops, bytes, or latency
// (measured, see latency.h; in a trial that of FLOPs). Only a measured one has a spread.
MeasuredShare measured_share(const PruneJob& job, const Graph& graph);
// Puts into the findings where forwards were timed, if the share was measured.
void note_place(PruneJob& job);
double share_gone(const PruneJob& job, const Graph& graph);  // its value

// Sets, by canonical number, lowest score first.
std::vector<GroupCut> cuts_without(const Coupling& coupling, const std::vector<int32_t>& removed);
// share_gone() of the graph without these sets.
double share_without(const PruneJob& job, const Graph& graph, const Coupling& coupling, const std::vector<int32_t>& removed);

// The fewest sets of the ranking, from its front, with which `share` of the budget is gone; of a measured time, as far as
// fewest_for_time() can tell. UserError naming the groups that can give no more and the share that can be reached, or
// where the search for a time had to end before it knew anything.
std::vector<int32_t> sets_for_share(const PruneJob& job, const SetRemoval& removal, const Graph& graph, const Coupling& coupling,
                                    const SetScores& scores, double share);

// Scores the sets of a graph; not asked in a trial.
using ScoreSets = std::function<SetScores(const Graph& graph, const Coupling& coupling)>;
// Between choice and cut: may change the graph's weights (its shapes are the uncut ones).
using BeforeCut = std::function<void(Graph& graph, const Coupling& coupling, const std::vector<GroupCut>& cuts)>;

// Chooses, cuts the job's graph and reports: `removed`, what was reached, and findings: of every group the sets that
// were kept and removed (in the numbering of the model as it came) and what couples them, of every cut parameter dim the
// kept indices.
void remove_sets(PruneJob& job, const SetRemoval& removal, const ScoreSets& scores, const BeforeCut& before_cut = {});

// Carries out cuts that are chosen already, and reports them.
void carry_out(PruneJob& job, const Coupling& coupling, const std::vector<GroupCut>& cuts);

// The method's batches with their losses: pictures with labels, or windows of text with the next tokens.
std::vector<LossBatch> loss_batches(PruneJob& job, int64_t samples);

}  // namespace espalier
