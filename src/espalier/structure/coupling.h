// Coupling groups: which indices of which parameter dims can only be removed together (SPA, section A). Every
// operator's `couple` rule is applied once, in topological order, to a union-find over (parameter, axis, index).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/graph/couple.h"
#include "espalier/graph/graph.h"

namespace espalier {

// What stays of a dim that a Reshape took apart (a width into heads): its first factor or its last one.
enum class SplitPolicy { kOuter, kInner };

struct CouplingOptions {
  HeadUnit head_unit = HeadUnit::kKvGroup;
  // Parameters of nodes whose name matches one of these keep their shapes; `*` stands for any text. UserError for a
  // pattern that matches no node. Freezing is contagious: a protected node also keeps the residual width that it reads.
  std::vector<std::string> protect;
  std::vector<std::pair<std::string, size_t>> protect_dims;  // (parameter, axis)
  GroupConvPolicy group_conv = GroupConvPolicy::kKeepGroups;
  SplitPolicy split = SplitPolicy::kOuter;
};

// Of one index of one dim: which set of which group removes it; −1: none, it is frozen.
struct SetRef {
  int32_t group = -1, set = -1;
};

// One parameter dim of a group.
struct CouplingMember {
  std::string param;
  size_t axis = 0;
  std::vector<int32_t> set_of_index;  // set of the group, 0 … set_count-1, or −1: frozen
  std::string reason;                 // the edge that coupled it: "Linear model.layers.0.mlp.down_proj with … axis 0"
};

enum class GroupKind {
  kResidual,  // the width of the residual stream
  kHeads,     // attention heads of one block: whole KV groups or query heads
  kNeurons,   // inner channels of one block
  kOther,     // channels outside the blocks
};
const char* name_of(GroupKind kind);  // "residual", "heads", "neurons", "other"

// What a group of attention heads is made of.
struct HeadFacts {
  int64_t head_size = 0;
  int64_t kv_heads = 0;
  int64_t queries_per_set = 0;  // query heads that go with one set
  std::vector<int32_t> kv_head_of_set;
  HeadUnit unit = HeadUnit::kKvGroup;
};

struct CouplingGroup {
  int id = 0;
  std::string label;  // unique in the graph: "residual", "blocks.3.heads", "channels.layer1.0.conv1"
  GroupKind kind = GroupKind::kOther;
  int block = -1;  // −1: spans several
  int64_t set_count = 0;
  std::vector<CouplingMember> members;  // in declared order of the parameters, axes ascending
  std::vector<int32_t> canonical;       // of each set its number in the whole graph (order of first appearance)
  std::optional<HeadFacts> heads;       // when kind is kHeads
};

// A dim of a value as surgery sees it: what removes each position, or one factor of a dim that was taken apart.
struct DimPositions {
  std::vector<SetRef> positions;
  int split = -1;  // in Coupling::splits; then there are no positions
  size_t factor = 0;
};

// Entry `entry` of a node's integer list (or the integer itself) counts these positions; surgery rewrites it.
struct CountedEntry : DimPositions {
  std::string node, attribute;
  size_t entry = 0;
};

// A dim that a Reshape took apart: positions row-major over the factors. What is kept must be a product of kept
// coordinates, or the whole chain of layout operators must become one Gather.
struct SplitDim {
  std::vector<SetRef> positions;
  Shape factors;
  int family = 0;  // splits of one Reshape'd dim, however refined
};

// The attributes of a Slice or Gather address these indices of its input's axis.
struct AddressedDim : DimPositions {
  std::string node;
  size_t axis = 0;
  std::vector<int64_t> indices;
};

// Where a Reshape puts the factors of a split together again: index i is index picks[i] of the root's axis.
struct LayoutChain {
  std::string node;
  size_t axis = 0;
  ValueId root = -1;
  size_t root_axis = 0;
  int split = 0, family = 0;
  std::vector<int64_t> picks;
  std::vector<SetRef> root_positions;
};

// A norm whose statistics run over these positions.
struct StatisticsSite {
  std::string node;
  std::vector<SetRef> positions;
};

struct Coupling {
  std::vector<CouplingGroup> groups;  // by first parameter dim
  std::vector<CountedEntry> counted;
  std::vector<SplitDim> splits;
  std::vector<AddressedDim> addressed;
  std::vector<LayoutChain> chains;
  std::vector<StatisticsSite> statistics;
  std::vector<std::string> unknown_operators;  // have no coupling rule; each with the dims that it freezes

  const CouplingGroup* find(const std::string& label) const;  // nullptr: absent
  const CouplingGroup* find(GroupKind kind, int block) const;
  // Canonical set numbers of a dim, −1 frozen; empty when no index of the dim can be removed.
  std::vector<int32_t> canonical_sets(const std::string& param, size_t axis) const;
};

Coupling find_coupling(const Graph& graph, const CouplingOptions& options = {});

// Every group with its members and the edges that coupled them.
std::string describe_groups(const Coupling& coupling);
Json groups_to_json(const Coupling& coupling);

bool matches_pattern(const std::string& name, const std::string& pattern);  // `*` stands for any text

}  // namespace espalier
