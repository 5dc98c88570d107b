#include "espalier/lab/repair/obspa.h"

#include <algorithm>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/lab/measure/layer_columns.h"
#include "espalier/lab/repair/obs.h"
#include "espalier/lab/repair/obs_factor.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// The Hessian's inverse of the next node's inputs, [groups, inputs, inputs]. Linear layers that read the same value one
// after the other (query, key, value) share it.
class Hessians {
 public:
  Hessians(const Graph& graph, const NodeSweep& sweep, const ObspaOptions& options) : graph_(graph), sweep_(sweep), options_(options) {}

  struct Layer {
    at::Tensor gram;                   // [groups, inputs, inputs]
    std::vector<at::Tensor> inverses;  // one a group
  };

  const Layer& of_next() {
    const Node& node = sweep_.node();
    const bool shared = node.op == "Linear" && node.inputs[0] == value_;
    value_ = node.op == "Linear" ? node.inputs[0] : -1;
    if (!shared) layer_ = gather(node);
    return layer_;
  }

 private:
  Layer gather(const Node& node) const {
    int64_t pictures = 0;
    for (size_t b = 0; b < sweep_.batch_count(); ++b) pictures += sweep_.input(b).size(0);
    const at::Tensor positions = sampled_positions(graph_, node, pictures, options_.columns, options_.seed);
    LayerGram gram(node.name);
    for (size_t b = 0; b < sweep_.batch_count(); ++b) gram.add(layer_columns(graph_, node, sweep_.input(b), positions));
    Layer layer{gram.gram(), {}};
    for (int64_t g = 0; g < layer.gram.size(0); ++g) layer.inverses.push_back(inverse_of(layer.gram[g], node.name));
    return layer;
  }

  // Inputs that are zero throughout (a dead layer before this one) say nothing: the identity then.
  at::Tensor inverse_of(const at::Tensor& gram, const std::string& name) const {
    if (gram.diagonal().max().item<double>() == 0) return at::eye(gram.size(0), at::kDouble);
    return damped_inverse(2 * gram, options_.damp, name);
  }

  const Graph& graph_;
  const NodeSweep& sweep_;
  const ObspaOptions& options_;
  ValueId value_ = -1;
  Layer layer_;
};

std::set<std::string> weights_of_several_nodes(const Graph& graph) {
  std::set<std::string> seen, several;
  for (const auto& node : graph.nodes)
    for (const auto& [role, name] : node.params)
      if (!seen.insert(name).second) several.insert(name);
  return several;
}

// Of each weight the indices of its input axis that the cuts take.
std::map<std::string, std::vector<int64_t>> removed_inputs(const Graph& graph, const Coupling& coupling, const std::vector<GroupCut>& cuts) {
  std::map<std::string, size_t> axis_of;
  for (const auto& node : graph.nodes)
    if (is_weighted_layer(node)) axis_of[node.params.at("weight")] = input_axis(node);
  std::map<std::string, std::vector<int64_t>> removed;
  for (const auto& cut : cuts) {
    const auto& group = coupling.groups[static_cast<size_t>(cut.group)];
    const std::set<int64_t> kept(cut.kept.begin(), cut.kept.end());
    for (const auto& member : group.members) {
      const auto axis = axis_of.find(member.param);
      if (axis == axis_of.end() || axis->second != member.axis) continue;
      for (size_t i = 0; i < member.set_of_index.size(); ++i)
        if (const int32_t set = member.set_of_index[i]; set >= 0 && !kept.count(set)) removed[member.param].push_back(static_cast<int64_t>(i));
    }
  }
  return removed;
}

// The columns of a weight's matrix that channels take.
at::Tensor columns_of(const std::vector<int64_t>& channels, int64_t kernel) {
  std::vector<int64_t> columns;
  for (int64_t channel : channels)
    for (int64_t k = 0; k < kernel; ++k) columns.push_back(channel * kernel + k);
  return at::tensor(columns, at::kLong);
}

LayerUpdate update_layer(Graph& graph, const Node& node, const Hessians::Layer& hessian, const std::vector<int64_t>& channels, bool move) {
  Parameter& parameter = graph.parameter_of(node, "weight");
  const at::Tensor stored = to_torch(parameter.load());
  const LayerShape shape = layer_shape(graph, node);
  const at::Tensor matrix = layer_matrix(node, stored, shape), columns = columns_of(channels, shape.kernel);
  std::vector<at::Tensor> groups;
  LayerUpdate update{node.name, std::ssize(channels), 0, 0};
  for (int64_t g = 0; g < shape.groups; ++g) {
    const at::Tensor w = matrix[g].to(at::kDouble), zeroed = w.index_fill(1, columns, 0);
    const at::Tensor moved = move ? obs_remove_columns(w, hessian.inverses[static_cast<size_t>(g)], columns) : zeroed;
    update.err_zeroed += output_error(w, zeroed, hessian.gram[g]);
    update.err_updated += output_error(w, moved, hessian.gram[g]);
    groups.push_back(moved.to(at::kFloat));
  }
  parameter.assign(from_torch(stored_weight(node, at::stack(groups), stored), parameter.dtype()));
  return update;
}

// Mean and variance over all of the calibration data, as the layers before leave it.
void renew_statistics(Graph& graph, const NodeSweep& sweep) {
  const Node& node = sweep.node();
  if (!node.has_param("mean") || !node.has_param("var")) return;
  at::Tensor sum, squares;
  double count = 0;
  for (size_t b = 0; b < sweep.batch_count(); ++b) {
    const at::Tensor x = sweep.input(b).to(at::kDouble).transpose(0, 1).flatten(1);
    sum = sum.defined() ? sum + x.sum(1) : x.sum(1);
    squares = squares.defined() ? squares + x.square().sum(1) : x.square().sum(1);
    count += static_cast<double>(x.size(1));
  }
  const at::Tensor mean = sum / count, variance = (squares / count - mean.square()).clamp_min(0);
  for (const auto& [role, value] : {std::pair("mean", mean), std::pair("var", variance)}) {
    Parameter& parameter = graph.parameter_of(node, role);
    parameter.assign(from_torch(value.to(at::kFloat), parameter.dtype()));
  }
}

}  // namespace

ElementScores obs_element_scores(const Graph& graph, const std::vector<GraphInputs>& batches, const ObspaOptions& options) {
  at::NoGradGuard no_gradients;
  const auto scores = std::make_shared<std::map<std::string, at::Tensor>>();
  NodeSweep sweep(graph, batches);
  Hessians hessians(graph, sweep, options);
  Progress progress("scores", static_cast<int64_t>(graph.nodes.size()), "node");
  for (; !sweep.done(); sweep.advance(), progress.advance(1)) {
    const Node& node = sweep.node();
    if (!is_weighted_layer(node)) continue;
    const auto& hessian = hessians.of_next();
    const at::Tensor stored = to_torch(graph.parameter_of(node, "weight").load());
    const at::Tensor matrix = layer_matrix(node, stored, layer_shape(graph, node));
    std::vector<at::Tensor> groups;
    for (size_t g = 0; g < hessian.inverses.size(); ++g) groups.push_back(2 * obs_saliency(matrix[static_cast<int64_t>(g)], hessian.inverses[g]));
    const at::Tensor score = stored_weight(node, at::stack(groups), stored);
    auto [entry, fresh] = scores->try_emplace(node.params.at("weight"), score);
    if (!fresh) entry->second = entry->second + score;  // a shared weight
  }
  return [scores](const std::string& name) {
    const auto found = scores->find(name);
    return found == scores->end() ? at::Tensor() : found->second;
  };
}

std::vector<LayerUpdate> obspa_update(Graph& graph, const Coupling& coupling, const std::vector<GroupCut>& cuts,
                                      const std::vector<GraphInputs>& batches, const ObspaOptions& options) {
  at::NoGradGuard no_gradients;
  const auto removed = removed_inputs(graph, coupling, cuts);
  const auto shared = weights_of_several_nodes(graph);
  std::vector<LayerUpdate> updates;
  NodeSweep sweep(graph, batches);
  Hessians hessians(graph, sweep, options);
  Progress progress("update", static_cast<int64_t>(graph.nodes.size()), "node");
  for (; !sweep.done(); sweep.advance(), progress.advance(1)) {
    const Node& node = sweep.node();
    if (options.norms && node.op == "BatchNorm") renew_statistics(graph, sweep);
    if (!is_weighted_layer(node) || shared.count(node.params.at("weight"))) continue;
    const auto channels = removed.find(node.params.at("weight"));
    if (channels != removed.end()) updates.push_back(update_layer(graph, node, hessians.of_next(), channels->second, options.update));
  }
  return updates;
}

}  // namespace espalier
