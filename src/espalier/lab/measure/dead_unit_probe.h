// The rectifiers of a graph: how many of their units are dead, and whether any weight feeds them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/dead_units.h"

namespace espalier {

class DeadUnitProbe {
 public:
  // Activations of the kinds relu, relu6 and gelu (whose unit counts as dead at pre-activations up to 0).
  // UserError naming `where` when there is none. The graph must outlive the probe.
  DeadUnitProbe(const Graph& graph, const std::string& where);

  const std::vector<NodeId>& rectifiers() const { return rectifiers_; }
  // mask: of a parameter, bool; undefined where it is dense. One entry a rectifier; batches are what the graph reads, and
  // run in inference mode.
  std::vector<DeadUnits> count(Weights& weights, const std::vector<at::Tensor>& batches, const std::function<at::Tensor(const std::string&)>& mask) const;

 private:
  // What reaches a value: bool, one a channel; undefined: every channel is fed.
  at::Tensor fed(ValueId value, const std::function<at::Tensor(const std::string&)>& mask) const;
  bool channels_last(ValueId value) const;

  const Graph& graph_;
  std::vector<NodeId> rectifiers_;
};

}  // namespace espalier
