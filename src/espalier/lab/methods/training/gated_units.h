// What consensus gates switch in a graph: residual branches, or the channels of inner convolutions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "espalier/families/family.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/structure/coupling.h"

namespace espalier {

struct GatedSite {
  std::string name;          // of the Add, or of the norm behind the convolution
  NodeId input_node = -1;    // whose input the gates look at: the Add itself, or the convolution
  size_t input = 0;          // which of its inputs
  std::set<NodeId> gated;    // the Add, whose other input is multiplied; or nodes whose outputs are, behind norm and activation
  ValueId residual = -1;     // of a branch
  int64_t channels = 0;      // that the gates look at
  int64_t gates = 1;         // one a branch, or one a channel
  std::vector<int32_t> sets; // of channels: canonical numbers
  double cost = 0;           // multiply-adds of one gate's unit
  int64_t stage = 0;         // sites of the same number must not all close: width of the stream, or the site's own number
};

// shapes: of one example. Branches: sums of a value and something computed from it alone, so that the sum without the branch is
// that value. Channels: those that one convolution with a batch norm produces.
std::vector<GatedSite> find_gated_branches(const Graph& graph, const std::vector<Shape>& shapes);
std::vector<GatedSite> find_gated_channels(const Graph& graph, const std::vector<Shape>& shapes, const Coupling& coupling);

// Multiplies what the sites switch by gates [batch, gates], which are asked for once a site and forward, of the pooled input.
using GatesOf = std::function<at::Tensor(size_t site, const at::Tensor& input)>;
Observer gating_observer(const std::vector<GatedSite>& sites, GatesOf gates_of);

// Takes the units out whose gate is closed (keep: of each site its gates).
void cut_gated_units(Model& model, const std::vector<GatedSite>& sites, const std::vector<at::Tensor>& keep, const Coupling& coupling);

}  // namespace espalier
