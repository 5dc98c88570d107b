// The irreversible form: parameters get smaller, nodes disappear. Cuts are lazy (Parameter::cut records indices), so a
// model larger than memory can be cut before it is written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/graph/graph.h"
#include "espalier/graph/sublayers.h"
#include "espalier/structure/coupling.h"

namespace espalier {

struct GroupCut {
  int group = 0;              // id in the coupling
  std::vector<int64_t> kept;  // sets that stay, ascending
};

// Cuts every member of the groups and rewrites what depends on them: split sizes, convolution groups, shapes, indices of
// Slice and Gather. Where the kept channels of a chain Reshape, Transpose, Reshape are no product of kept coordinates,
// the chain becomes one Gather. The coupling is the one of this graph before any of the cuts; several calls for different
// groups may share it unless these groups meet in a Slice, a Gather or a dim that a Reshape takes apart: such groups want
// one call. UserError, before anything is changed: a group or a dim would be emptied, a set that the group does not have,
// query heads would be kept in unequal numbers by several KV heads, or what remains cannot be expressed.
void cut(Graph& graph, const Coupling& coupling, const std::vector<GroupCut>& cuts);
void cut(Graph& graph, const Coupling& coupling, int group, const std::vector<int64_t>& kept);

// How many sets to keep so that the width is aligned: `kept` rounded up to a multiple, at most all. Attention heads are
// left as they are unless `heads_too`, because their width is a multiple of the head size anyway.
int64_t aligned_count(const CouplingGroup& group, int64_t kept, int64_t multiple, bool heads_too = false);

// Where each old block went: its new index, −1 when it is gone.
using BlockMap = std::vector<int>;

// Takes branches off the residual stream: what read the sum reads the residual, nodes and parameters that nobody needs
// any more go, blocks left without a node go too and the others are renumbered: node blocks, and the names of nodes,
// values and parameters that start with `block_prefix` ("model.layers.{}."). UserError when no block would be left.
// `sublayers` are of this graph (find_sublayers).
BlockMap remove_sublayers(Graph& graph, const std::vector<SubLayer>& sublayers, const std::string& block_prefix);

// Whole blocks, with the norms that stand on the residual stream itself (post-norm models), where removing both
// branches would leave those. UserError: a block that the graph does not have, or all of them.
BlockMap remove_blocks(Graph& graph, const std::vector<int>& blocks, const std::string& block_prefix);

// The form of a removed branch that keeps every shape: zero output projection and bias. The model computes the same.
void zero_sublayers(Graph& graph, const std::vector<SubLayer>& sublayers);

}  // namespace espalier
