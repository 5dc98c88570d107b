#include "espalier/lab/measure/dead_unit_probe.h"

#include <set>

#include "espalier/core/error.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// Operators that pass channels on, each as it is.
bool passes_channels(const Node& node) { return node.op == "BatchNorm" || node.op == "Gate" || node.op == "Dropout"; }

}  // namespace

DeadUnitProbe::DeadUnitProbe(const Graph& graph, const std::string& where) : graph_(graph) {
  static const std::set<std::string> kKinds{"relu", "relu6", "gelu", "gelu_tanh"};
  for (size_t n = 0; n < graph.nodes.size(); ++n)
    if (const Node& node = graph.nodes[n]; node.op == "Activation" && kKinds.count(node.text_or("kind", ""))) rectifiers_.push_back(static_cast<NodeId>(n));
  if (rectifiers_.empty()) user_error("{}: there is no ReLU or GELU in the network, so no unit can be dead", where);
}

at::Tensor DeadUnitProbe::fed(ValueId value, const std::function<at::Tensor(const std::string&)>& mask) const {
  const auto producer = graph_.producer(value);
  if (!producer) return {};
  const Node& node = graph_.nodes[static_cast<size_t>(*producer)];
  if (is_matrix_layer(node)) {
    const at::Tensor keep = mask(node.params.at("weight"));
    if (!keep.defined() || node.op == "ConvTranspose") return {};
    return node.flag_or("transposed", false) ? keep.any(0) : keep.flatten(1).any(1);
  }
  if (passes_channels(node)) return fed(node.inputs[0], mask);
  if (node.op != "Add") return {};
  // A sum is fed by either: a skip feeds every channel.
  at::Tensor any;
  for (const ValueId input : node.inputs) {
    const at::Tensor one = fed(input, mask);
    if (!one.defined()) return {};
    any = any.defined() ? any.logical_or(one) : one;
  }
  return any;
}

bool DeadUnitProbe::channels_last(ValueId value) const {
  const auto producer = graph_.producer(value);
  if (!producer) return false;
  const Node& node = graph_.nodes[static_cast<size_t>(*producer)];
  if (node.op == "Linear") return true;
  return (passes_channels(node) || node.op == "Add") && channels_last(node.inputs[0]);
}

std::vector<DeadUnits> DeadUnitProbe::count(Weights& weights, const std::vector<at::Tensor>& batches, const std::function<at::Tensor(const std::string&)>& mask) const {
  at::NoGradGuard no_gradients;
  std::vector<DeadUnits> counts(rectifiers_.size());
  const Interpreter interpreter(graph_, weights);
  Observer observer;
  observer.before = [&](NodeId n, const Node& node, std::vector<at::Tensor>& inputs) {
    const auto found = std::find(rectifiers_.begin(), rectifiers_.end(), n);
    if (found == rectifiers_.end()) return;
    const at::Tensor before = channels_last(node.inputs[0]) ? inputs[0].movedim(-1, 1) : inputs[0];
    const at::Tensor channels = fed(node.inputs[0], mask);
    counts[static_cast<size_t>(found - rectifiers_.begin())].add(count_dead(before, channels.defined() ? channels : at::ones({before.size(1)}, at::kBool)));
  };
  for (const auto& batch : batches) interpreter.forward(batch, &observer);
  return counts;
}

}  // namespace espalier
