// What was removed, in the numbering of the model as it came, over any number of rounds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "espalier/lab/methods/job.h"
#include "espalier/structure/surgery.h"

namespace espalier {

class RemovalReport {
 public:
  // A round: the coupling of the graph before these cuts.
  void add(const Coupling& coupling, const std::vector<GroupCut>& cuts);

  // Notes every removal, and writes findings: "groups" [{label, kind, sets, kept, removed, members}], "parameters"
  // {name: {axis: kept indices}} of those that the job's graph has cut, and "frozen_by" operators without a rule.
  void write(PruneJob& job) const;

 private:
  struct Group {
    GroupKind kind = GroupKind::kOther;
    bool query_heads = false;
    int64_t sets = 0;
    std::vector<int64_t> kept;          // original numbers
    std::vector<std::string> members;  // "conv1.weight axis 0"
  };
  Group& group_of(const CouplingGroup& group);

  std::map<std::string, Group> groups_;  // by label
  std::vector<std::string> order_, unknown_;
};

}  // namespace espalier
