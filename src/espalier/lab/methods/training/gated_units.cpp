#include "espalier/lab/methods/training/gated_units.h"

#include <algorithm>
#include <map>
#include <memory>

#include "espalier/core/error.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/graph/operator.h"
#include "espalier/graph/sublayers.h"
#include "espalier/lab/methods/structures/channel_removal.h"
#include "espalier/lab/methods/training/consensus_gates.h"
#include "espalier/lab/methods/training/scale_pruning.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

const Node& node_at(const Graph& graph, NodeId n) { return graph.nodes[static_cast<size_t>(n)]; }
const Shape& shape_of(const Graph& graph, ValueId value) { return graph.values[static_cast<size_t>(value)].shape; }

// Channels that a gate sees: the second dim of pictures, the last of tokens.
int64_t channels_of(const Shape& shape) { return shape.size() == 3 ? shape[2] : shape.at(1); }

Graph with_shapes(const Graph& graph, const std::vector<Shape>& shapes) {
  Graph copy = graph.clone();
  infer_shapes(copy, shapes);
  return copy;
}

// The nodes that compute `branch` from `residual`; empty when something else of the input enters, or nothing of it.
std::set<NodeId> between(const Graph& graph, ValueId residual, ValueId branch) {
  std::set<NodeId> nodes;
  std::vector<ValueId> open{branch};
  bool reached = false;
  while (!open.empty()) {
    const ValueId value = open.back();
    open.pop_back();
    if (value == residual) {
      reached = true;
      continue;
    }
    const auto producer = graph.producer(value);
    if (!producer) return {};  // an input of the graph: computed from it as well
    if (!nodes.insert(*producer).second) continue;
    for (ValueId input : node_at(graph, *producer).inputs) open.push_back(input);
  }
  return reached ? nodes : std::set<NodeId>{};
}

double multiply_adds_of(const Graph& graph, const std::set<NodeId>& nodes) {
  double flops = 0;
  for (NodeId n : nodes)
    if (is_matrix_layer(node_at(graph, n))) flops += cost_of(graph, node_at(graph, n)).flops;
  return flops / 2;
}

// Norm and then an activation that nothing else reads, if there is one.
NodeId behind(const Graph& graph, NodeId norm) {
  const auto readers = graph.consumers(node_at(graph, norm).outputs[0]);
  return readers.size() == 1 && node_at(graph, readers[0]).op == "Activation" ? readers[0] : norm;
}

NodeId number_of(const Graph& graph, const std::string& name) {
  for (size_t n = 0; n < graph.nodes.size(); ++n)
    if (graph.nodes[n].name == name) return static_cast<NodeId>(n);
  bug(__FILE__, __LINE__, "no node " + name);
}

// Whatever read the sum reads what the branch was added to.
void bypass(Graph& graph, NodeId add, ValueId residual) {
  const ValueId sum = node_at(graph, add).outputs[0];
  for (auto& node : graph.nodes) std::replace(node.inputs.begin(), node.inputs.end(), sum, residual);
  std::replace(graph.outputs.begin(), graph.outputs.end(), sum, residual);
}

void remove_branches(Model& model, const std::vector<GatedSite>& closed) {
  Graph& graph = model.graph;
  std::vector<SubLayer> sublayers;
  for (const auto& sublayer : find_sublayers(graph))
    if (std::any_of(closed.begin(), closed.end(), [&](const GatedSite& site) { return site.name == node_at(graph, sublayer.add).name; })) sublayers.push_back(sublayer);
  if (!sublayers.empty()) {
    remove_sublayers(graph, sublayers, model.family ? model.family->block_prefix(graph) : "\n{}.");
    return;
  }
  for (const auto& site : closed) bypass(graph, number_of(graph, site.name), site.residual);
  graph.drop_unread_nodes();
  graph.drop_unused_parameters();
}

}  // namespace

std::vector<GatedSite> find_gated_branches(const Graph& given, const std::vector<Shape>& shapes) {
  const Graph graph = with_shapes(given, shapes);
  std::vector<GatedSite> sites;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (node.op != "Add" || node.inputs.size() != 2 || shape_of(graph, node.inputs[0]) != shape_of(graph, node.inputs[1])) continue;
    for (size_t residual : {0, 1}) {
      const auto inside = between(graph, node.inputs[residual], node.inputs[1 - residual]);
      if (inside.empty()) continue;
      GatedSite site{node.name, static_cast<NodeId>(n), residual, {static_cast<NodeId>(n)}, node.inputs[residual]};
      site.channels = site.stage = channels_of(shape_of(graph, node.inputs[residual]));
      site.cost = multiply_adds_of(graph, inside);
      if (site.cost > 0) sites.push_back(std::move(site));
      break;
    }
  }
  return sites;
}

std::vector<GatedSite> find_gated_channels(const Graph& given, const std::vector<Shape>& shapes, const Coupling& coupling) {
  const Graph graph = with_shapes(given, shapes);
  std::vector<GatedSite> sites;
  for (const auto& group : find_norm_groups(graph, coupling, false)) {
    const NodeId norm = number_of(graph, group.norms[0]), layer = *graph.producer(node_at(graph, norm).inputs[0]);
    GatedSite site{group.norms[0], layer, 0, {}, -1};
    for (const auto& name : group.norms) site.gated.insert(behind(graph, number_of(graph, name)));
    site.channels = channels_of(shape_of(graph, node_at(graph, layer).inputs[0]));
    site.gates = std::ssize(group.sets);
    site.sets = group.sets;
    site.stage = std::ssize(sites);
    std::set<NodeId> paid{layer};
    for (NodeId n : site.gated)
      for (NodeId reader : graph.consumers(node_at(graph, n).outputs[0])) paid.insert(reader);
    site.cost = multiply_adds_of(graph, paid) / static_cast<double>(site.gates);
    sites.push_back(std::move(site));
  }
  return sites;
}

Observer gating_observer(const std::vector<GatedSite>& sites, GatesOf gates_of) {
  const auto gates = std::make_shared<std::vector<at::Tensor>>(sites.size());  // of this forward
  std::map<NodeId, std::vector<size_t>> reads, multiplies;
  for (size_t s = 0; s < sites.size(); ++s) {
    reads[sites[s].input_node].push_back(s);
    for (NodeId n : sites[s].gated) multiplies[n].push_back(s);
  }
  Observer observer;
  observer.before = [=](NodeId n, const Node&, std::vector<at::Tensor>& inputs) {
    const auto found = reads.find(n);
    if (found == reads.end()) return;
    for (size_t s : found->second) {
      (*gates)[s] = gates_of(s, inputs[sites[s].input]);
      if (sites[s].residual >= 0) inputs[1 - sites[s].input] = gated(inputs[1 - sites[s].input], (*gates)[s].squeeze(1));
    }
  };
  observer.after = [=](NodeId n, const Node&, std::vector<at::Tensor>& outputs) {
    const auto found = multiplies.find(n);
    if (found == multiplies.end()) return;
    for (size_t s : found->second)
      if (sites[s].residual < 0) outputs[0] = gated(outputs[0], (*gates)[s]);
  };
  return observer;
}

void cut_gated_units(Model& model, const std::vector<GatedSite>& sites, const std::vector<at::Tensor>& keep, const Coupling& coupling) {
  std::vector<GatedSite> closed;
  std::vector<int32_t> gone;
  for (size_t s = 0; s < sites.size(); ++s) {
    if (sites[s].residual >= 0) {
      if (!keep[s].item<bool>()) closed.push_back(sites[s]);
      continue;
    }
    for (size_t c = 0; c < sites[s].sets.size(); ++c)
      if (!keep[s][static_cast<int64_t>(c)].item<bool>()) gone.push_back(sites[s].sets[c]);
  }
  if (!closed.empty()) remove_branches(model, closed);
  if (!gone.empty()) cut(model.graph, coupling, cuts_without(coupling, gone));
}

}  // namespace espalier
