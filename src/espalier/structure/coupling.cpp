#include "espalier/structure/coupling.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/graph/sublayers.h"
#include "espalier/structure/coupling_walk.h"

namespace espalier {
namespace {

// Numbers classes and groups canonically and turns atoms into references to sets.
class Numbering {
 public:
  explicit Numbering(CouplingWalk& walk) : walk_(walk), number_(walk.classes().size(), -1) {
    for (const auto& dim : walk.dims()) number_dim(dim);
    for (size_t set = 0; set < first_dim_.size(); ++set) number_group(static_cast<int32_t>(set));
  }

  SetRef of(int32_t atom) {
    const int32_t set = number_[static_cast<size_t>(walk_.classes().find(atom))];
    return set < 0
               ? SetRef{}
               : SetRef{group_of_dim_[leader(first_dim_[static_cast<size_t>(set)])], local_[static_cast<size_t>(set)]};
  }
  std::vector<SetRef> of(const Atoms& atoms) {
    std::vector<SetRef> refs(atoms.size());
    std::transform(atoms.begin(), atoms.end(), refs.begin(), [&](int32_t atom) { return of(atom); });
    return refs;
  }
  const std::vector<std::vector<int32_t>>& sets_of_group() const { return sets_of_group_; }

 private:
  size_t leader(size_t dim) {
    while (parent_[dim] != dim) dim = parent_[dim] = parent_[parent_[dim]];
    return dim;
  }

  void number_dim(const CouplingWalk::Dim& dim) {
    const size_t index = parent_.size();
    parent_.push_back(index);
    for (int32_t atom : dim.atoms) {
      const int32_t root = walk_.classes().find(atom);
      if (walk_.classes().is_frozen(root)) continue;
      int32_t& set = number_[static_cast<size_t>(root)];
      if (set < 0) {
        set = static_cast<int32_t>(first_dim_.size());
        first_dim_.push_back(index);
      }
      const size_t a = leader(index), b = leader(first_dim_[static_cast<size_t>(set)]);
      parent_[std::max(a, b)] = std::min(a, b);
    }
  }

  // Leaders are the lowest dims of their groups, and sets appear in the order of dims, so ids come out in order too.
  void number_group(int32_t set) {
    group_of_dim_.resize(parent_.size(), -1);
    int32_t& group = group_of_dim_[leader(first_dim_[static_cast<size_t>(set)])];
    if (group < 0) {
      group = static_cast<int32_t>(sets_of_group_.size());
      sets_of_group_.emplace_back();
    }
    auto& sets = sets_of_group_[static_cast<size_t>(group)];
    local_.push_back(static_cast<int32_t>(sets.size()));
    sets.push_back(set);
  }

  CouplingWalk& walk_;
  std::vector<int32_t> number_;        // of each root, its set
  std::vector<size_t> first_dim_;      // of each set
  std::vector<size_t> parent_;         // of each dim: union-find of groups
  std::vector<int32_t> group_of_dim_;  // of each leading dim
  std::vector<int32_t> local_;         // of each set, its place in the group
  std::vector<std::vector<int32_t>> sets_of_group_;
};

void add_members(const Graph& graph, const CouplingWalk& walk, Numbering& numbers, std::vector<CouplingGroup>& groups) {
  for (const auto& dim : walk.dims()) {
    CouplingMember member;
    member.set_of_index.resize(dim.atoms.size());
    int32_t group = -1;
    for (size_t i = 0; i < dim.atoms.size(); ++i) {
      const SetRef ref = numbers.of(dim.atoms[i]);
      member.set_of_index[i] = ref.set;
      group = std::max(group, ref.group);
    }
    if (group < 0) continue;
    member.param = dim.param->name();
    member.axis = dim.axis;
    member.reason = "alone";
    if (dim.edge_node >= 0) {
      const Node& node = graph.nodes[static_cast<size_t>(dim.edge_node)];
      const auto& other = walk.dims()[static_cast<size_t>(dim.edge_dim)];
      member.reason = fmt::format("{} {} with {} axis {}", node.op, node.name, other.param->name(), other.axis);
    }
    groups[static_cast<size_t>(group)].members.push_back(std::move(member));
  }
}

int32_t group_of(Numbering& numbers, const Atoms& atoms) {
  for (int32_t atom : atoms)
    if (const SetRef ref = numbers.of(atom); ref.group >= 0) return ref.group;
  return -1;
}

HeadFacts head_facts(const CouplingWalk& walk, Numbering& numbers, const Node& node, const CouplingGroup& group,
                     HeadUnit unit) {
  HeadFacts facts;
  facts.unit = unit;
  facts.head_size = node.integer("head_size");
  const Atoms& queries = walk.value(node.inputs[0], -1);
  const int64_t heads = static_cast<int64_t>(queries.size()) / facts.head_size;
  facts.kv_heads = static_cast<int64_t>(walk.value(node.inputs[1], -1).size()) / facts.head_size;
  facts.kv_head_of_set.assign(static_cast<size_t>(group.set_count), -1);
  std::vector<int64_t> queries_of_set(static_cast<size_t>(group.set_count), 0);
  for (int64_t head = 0; head < heads; ++head) {
    const SetRef ref = numbers.of(queries[static_cast<size_t>(head * facts.head_size)]);
    if (ref.group != group.id) continue;
    facts.kv_head_of_set[static_cast<size_t>(ref.set)] = static_cast<int32_t>(head / (heads / facts.kv_heads));
    facts.queries_per_set = std::max(facts.queries_per_set, ++queries_of_set[static_cast<size_t>(ref.set)]);
  }
  return facts;
}

// The one block that all members' nodes belong to, else −1.
int block_of(const CouplingGroup& group, const std::unordered_map<std::string, std::set<int>>& blocks_of_param,
             int block_count) {
  std::set<int> blocks;
  for (const auto& member : group.members) {
    const auto& of_member = blocks_of_param.at(member.param);
    blocks.insert(of_member.begin(), of_member.end());
  }
  const int only = blocks.size() == 1 ? *blocks.begin() : -1;
  return only < block_count ? only : -1;
}

void classify(const Graph& graph, const CouplingWalk& walk, Numbering& numbers, HeadUnit unit,
              std::vector<CouplingGroup>& groups) {
  std::unordered_map<std::string, std::set<int>> blocks_of_param;
  for (const Node& node : graph.nodes)
    for (const auto& [role, name] : node.params) blocks_of_param[name].insert(node.block);
  for (auto& group : groups) {
    group.block = block_of(group, blocks_of_param, graph.block_count);
    group.kind = group.block >= 0 ? GroupKind::kNeurons : GroupKind::kOther;
  }
  for (const Node& node : graph.nodes) {
    if (node.op != "Attention") continue;
    const int32_t id = group_of(numbers, walk.value(node.inputs[0], -1));
    if (id < 0) continue;
    auto& group = groups[static_cast<size_t>(id)];
    group.kind = GroupKind::kHeads;
    group.heads = head_facts(walk, numbers, node, group, unit);
  }
  for (const SubLayer& sublayer : find_sublayers(graph)) {
    const int32_t id = group_of(numbers, walk.value(sublayer.residual, -1));
    if (id < 0) continue;
    groups[static_cast<size_t>(id)].kind = GroupKind::kResidual;
    groups[static_cast<size_t>(id)].block = -1;
  }
}

// The axis of its weight that a node's output channels follow.
size_t output_axis(const Node& node) {
  const bool second = node.op == "Embedding" || node.op == "PositionEmbedding" || node.op == "ConvTranspose";
  return second || node.flag_or("transposed", false) ? 1 : 0;
}

// The first node that makes the group's channels; files often number their parameters, but name their nodes.
std::string maker_of(const Graph& graph, const CouplingGroup& group) {
  std::set<std::pair<std::string, size_t>> made;
  for (const auto& member : group.members) made.emplace(member.param, member.axis);
  for (const Node& node : graph.nodes)
    if (node.has_param("weight") && made.count({node.params.at("weight"), output_axis(node)})) return node.name;
  return group.members.front().param;
}

void name_groups(const Graph& graph, std::vector<CouplingGroup>& groups) {
  std::map<std::string, int> uses;
  for (auto& group : groups) {
    group.label = group.block >= 0                  ? fmt::format("blocks.{}.{}", group.block, name_of(group.kind))
                  : group.kind == GroupKind::kOther ? "channels." + maker_of(graph, group)
                                                    : name_of(group.kind);
    if (const int use = ++uses[group.label]; use > 1) group.label += fmt::format("#{}", use);
  }
}

void protect(const Graph& graph, const CouplingOptions& options, CouplingWalk& walk) {
  for (const auto& pattern : options.protect) {
    bool matched = false;
    for (const Node& node : graph.nodes) {
      if (!matches_pattern(node.name, pattern)) continue;
      matched = true;
      for (const auto& [role, name] : node.params)
        for (size_t axis = 0; axis < graph.parameter(name).shape().size(); ++axis) walk.freeze_dim(name, axis);
    }
    if (!matched)
      throw UserError("protect", "pattern", "one that matches a node of the model",
                      fmt::format("'{}'", printable(pattern)));
  }
  for (const auto& [name, axis] : options.protect_dims) {
    if (!graph.has_parameter(name) || axis >= graph.parameter(name).shape().size())
      throw UserError("protect", "dim", "a parameter of the model and one of its axes",
                      fmt::format("'{}' axis {}", printable(name), axis));
    walk.freeze_dim(name, axis);
  }
}

// What surgery needs to rewrite attributes.
void add_attributes(const Graph& graph, const CouplingWalk& walk, Numbering& numbers, Coupling& coupling) {
  auto name = [&](NodeId node) { return graph.nodes[static_cast<size_t>(node)].name; };
  auto positions = [&](const ValueDim& dim) {
    return dim.split ? DimPositions{{}, dim.split->index, dim.factor} : DimPositions{numbers.of(dim.atoms), -1, 0};
  };
  for (const auto& entry : walk.counted())
    coupling.counted.push_back({positions(entry.dim), name(entry.node), entry.attribute, entry.entry});
  for (const auto& split : walk.splits())
    coupling.splits.push_back({numbers.of(split->atoms), split->factors, split->family});
  for (const auto& site : walk.addressed())
    coupling.addressed.push_back({positions(site.dim), name(site.node), site.axis, site.indices});
  for (const auto& merge : walk.merges()) {
    const AxisSplit& split = *merge.split;
    const auto& whole = walk.splits()[static_cast<size_t>(split.family)]->atoms;
    coupling.chains.push_back({name(merge.node), merge.axis, split.root, split.root_axis, split.index, split.family,
                               merge.picks, numbers.of(whole)});
  }
}

}  // namespace

Coupling find_coupling(const Graph& model, const CouplingOptions& options) {
  Graph graph = model.clone();  // shares the weights; the shapes may be of before a cut
  infer_shapes(graph, input_shapes(graph));
  CouplingWalk walk(graph, options);
  walk.run();
  protect(graph, options, walk);
  Numbering numbers(walk);
  Coupling coupling;
  for (const auto& sets : numbers.sets_of_group()) {
    CouplingGroup group;
    group.id = static_cast<int>(coupling.groups.size());
    group.set_count = static_cast<int64_t>(sets.size());
    group.canonical = sets;
    coupling.groups.push_back(std::move(group));
  }
  add_members(graph, walk, numbers, coupling.groups);
  classify(graph, walk, numbers, options.head_unit, coupling.groups);
  name_groups(graph, coupling.groups);
  add_attributes(graph, walk, numbers, coupling);
  for (const auto& site : walk.statistics())
    coupling.statistics.push_back({graph.nodes[static_cast<size_t>(site.node)].name, numbers.of(site.atoms)});
  coupling.unknown_operators = walk.unknown_operators();
  return coupling;
}

}  // namespace espalier
